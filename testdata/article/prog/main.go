//go:build linux

// The programs of the article, written anew: they do what its snippets do, and no
// better. docs/article.md says what is wrong with them, and the scenarios one folder
// up show it.
//
// Without an argument this is the article's daemon as a whole (whole.go). It starts
// itself again without arguments, so what every start of it has to know is told in
// the environment:
//
//	LINES=first      the first snippet alone: starts itself again, always
//	LINES=second     the later snippets, as they stand (this if not given)
//	LINES=all        the same, if the lines behind the exit were reached
//	GENERATIONS=N    start itself again N times at most, where the original never
//	                 ends (2000 if not given)
//	TRACE=FILE       add a line to FILE at each start
//	STAY=1           the first start stays until the one that it started has ended
//	CONFIG=FILE      a file to load
//	TERMINAL=1       open a terminal that nobody has
//	COLD=1           with LINES=all: open no file before 0, 1 and 2 are closed
//
// With an argument it does one thing that the article asks for (parts.go).
package main

import (
	"fmt"
	"os"
)

var parts = map[string]func(args []string) error{
	"as":        as,
	"chroot":    chroot,
	"close":     closeStandardFiles,
	"directory": directoryAsStandardFiles,
	"fork":      fork,
	"init":      initOfNamespace,
	"notify":    notify,
	"reboot":    reboot,
	"setsid":    setsid,
	"signals":   signals,
	"umask":     umask,
}

func main() {
	if len(os.Args) > 1 {
		if part, ok := parts[os.Args[1]]; ok {
			check(part(os.Args[2:]))
			return
		}
	}
	whole()
}

// check ends the program with status 1 if there is an error.
func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "article:", err)
		os.Exit(1)
	}
}
