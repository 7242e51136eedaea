module daemonsteps

go 1.24.0

require (
	github.com/coreos/go-systemd/v22 v22.7.0
	github.com/godbus/dbus/v5 v5.2.4
	github.com/rogpeppe/go-internal v1.14.1
	golang.org/x/sys v0.41.0
)

require golang.org/x/tools v0.26.0 // indirect
