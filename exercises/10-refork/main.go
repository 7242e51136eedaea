//go:build linux

// A daemon and the launcher that starts it, with one mistake: see README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	foreground := flag.Bool("foreground", false, "be the daemon, here")
	leader := flag.Bool("leader", false, "be the one that leads the session and launches the daemon")
	every := flag.Duration("every", time.Second, "the `time` between two ticks")
	flag.Parse()
	part := lead
	switch {
	case *foreground:
		part = daemon
	case *leader:
		part = launch
	}
	err := fmt.Errorf("-every %v is not a time to wait", *every)
	if *every > 0 {
		err = part(*every)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}
