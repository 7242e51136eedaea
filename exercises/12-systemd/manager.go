//go:build linux

package main

import manager "github.com/coreos/go-systemd/v22/daemon"

// tell tells the service manager how things are (sd_notify(3)).
func tell(state string) error {
	_, err := manager.SdNotify(true, state)
	return err
}

// reloading says since when the configuration is loaded again.
func reloading() string {
	return manager.SdNotifyReloading + "\n" + manager.SdNotifyMonotonicUsec()
}
