// A daemon and the launcher that starts it, with one mistake: see README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	foreground := flag.Bool("foreground", false, "be the daemon, here")
	flag.Parse()
	half := launch
	if *foreground {
		half = daemon
	}
	if err := half(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}
