//go:build linux

// A daemon for a service manager, with one mistake: see README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

func main() {
	every := flag.Duration("every", time.Second, "the `time` between two ticks")
	flag.Parse()
	err := fmt.Errorf("-every %v is not a time to wait", *every)
	if *every > 0 {
		err = daemon(*every)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}
