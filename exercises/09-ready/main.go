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

// A config is what the command line says.
type config struct {
	every  time.Duration
	socket string
	ready  int
}

func main() {
	var c config
	foreground := flag.Bool("foreground", false, "be the daemon, here")
	flag.DurationVar(&c.every, "every", time.Second, "the `time` between two ticks")
	flag.StringVar(&c.socket, "socket", "", "the `file` to answer at (status, in the daemon's directory)")
	flag.IntVar(&c.ready, "ready", 0, "the `descriptor` of the pipe to the launcher")
	flag.Parse()
	half := launch
	if *foreground {
		half = daemon
	}
	err := fmt.Errorf("-every %v is not a time to wait", c.every)
	if c.every > 0 {
		err = half(c)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}
