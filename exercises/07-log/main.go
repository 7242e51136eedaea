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
	every := flag.Duration("every", time.Second, "the `time` between two ticks")
	flag.Parse()
	half := launch
	if *foreground {
		half = daemon
	}
	err := fmt.Errorf("-every %v is not a time to wait", *every)
	if *every > 0 {
		err = half(*every)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}
