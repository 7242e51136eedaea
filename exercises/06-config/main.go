//go:build linux

// A daemon and the launcher that starts it, with one mistake: see README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

var (
	every = flag.Duration("every", 0, "the `time` between two ticks (1s, if -config does not say it)")
	file  = flag.String("config", "", "a `file` with that time in it, by its absolute path")
)

func main() {
	flag.Bool("foreground", false, "be the daemon, here: it has to come first")
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
		os.Exit(1)
	}
}

// run is the launcher, or the daemon if -foreground comes first.
func run(args []string) error {
	if len(args) == 0 || args[0] != "-foreground" {
		return launch(append([]string{"-foreground"}, args...))
	}
	flag.Parse()
	wait, err := load()
	if err != nil {
		return err
	}
	return daemon(wait)
}

// load returns the time between two ticks. The command line counts more than the file.
func load() (time.Duration, error) {
	if flag.NArg() > 0 {
		return 0, fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	wait := time.Second
	if *file != "" {
		if !filepath.IsAbs(*file) { // The daemon's working directory is another.
			return 0, fmt.Errorf("-config %s is not an absolute path", *file)
		}
		text, err := os.ReadFile(*file)
		if err != nil {
			return 0, fmt.Errorf("read the configuration: %w", err)
		}
		if wait, err = time.ParseDuration(strings.TrimSpace(string(text))); err != nil {
			return 0, fmt.Errorf("read the configuration %s: %w", *file, err)
		}
	}
	if *every != 0 {
		wait = *every
	}
	if wait <= 0 {
		return 0, fmt.Errorf("%v is not a time to wait", wait)
	}
	return wait, nil
}
