//go:build linux

// Command isdaemon judges any program as a daemon.
//
//	isdaemon [flags] [--] COMMAND [ARG...]
//
// It starts the command on a terminal of its own, looks at what the kernel shows
// of the daemon that is left, ends it, and says which requirements it meets.
// See isdaemon -h.
package main

import (
	"os"

	"daemonsteps/internal/isdaemon"
	"daemonsteps/internal/lab"
)

func main() {
	lab.Main()
	os.Exit(isdaemon.Main(os.Args[1:], os.Stdout, os.Stderr))
}
