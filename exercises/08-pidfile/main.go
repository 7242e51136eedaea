//go:build linux

// A daemon and the launcher that starts it, with one mistake: see README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	foreground := flag.Bool("foreground", false, "be the daemon, here")
	every := flag.Duration("every", time.Second, "the `time` between two ticks")
	pidfile := flag.String("pidfile", "", "the PID `file`: of all that have it one runs at a time")
	flag.Parse()
	half := launch
	if *foreground {
		half = daemon
	}
	name, err := filepath.Abs(*pidfile) // The daemon's working directory is another.
	switch {
	case *pidfile == "":
		err = errors.New("-pidfile is needed")
	case *every <= 0:
		err = fmt.Errorf("-every %v is not a time to wait", *every)
	}
	if err == nil {
		err = half(*every, name)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}
