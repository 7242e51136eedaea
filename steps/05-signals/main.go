// A daemon and the launcher that starts it: one program, two halves.
//
// Without -foreground it is the launcher (launch.go): it starts this same
// program again, with -foreground, says that process's pid, and ends.
// With -foreground it is the daemon (daemon.go).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

const usage = `usage: %[1]s [flags]              start the daemon, say its pid, end
       %[1]s -foreground [flags]  be the daemon, here

  -every TIME   tick once in every TIME: 1s, 200ms, 1m30s (1s if not given)
  -dir DIR      tick into DIR/ticks (if not given: in a new directory in $TMPDIR)
  -foreground   no launcher: for a debugger, a container, or an init that
                starts it

The exit status is 0 if all went well, 2 if the command line is wrong, and 1
if anything else is; one line on standard error then says what.
`

func main() {
	name := filepath.Base(os.Args[0])
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // One line says what is wrong. The usage is for -h.
	dir := flags.String("dir", "", "")
	foreground := flags.Bool("foreground", false, "")
	every := flags.Duration("every", time.Second, "")

	err := flags.Parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Printf(usage, name)
		return
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err == nil && *every <= 0 {
		err = fmt.Errorf("-every %v is not a time to wait", *every)
	}
	if err == nil && *dir != "" && !*foreground {
		err = fmt.Errorf("-dir %s needs -foreground", *dir)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v (%s -h explains)\n", name, err, name)
		os.Exit(2)
	}

	if *foreground {
		err = daemon(*every, *dir)
	} else {
		// The daemon gets -foreground, and every other flag that we got.
		args := []string{"-foreground"}
		flags.Visit(func(f *flag.Flag) {
			if f.Name != "foreground" && f.Name != "dir" {
				args = append(args, "-"+f.Name, f.Value.String())
			}
		})
		err = launch(args)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}
