// A daemon, and nothing else: whoever starts it is its launcher. systemd does what
// the unit files beside this say; other service managers have their own words for it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

const usage = `usage: %[1]s [flags]         be the daemon, here
       %[1]s -check [flags]  say what is wrong with the configuration

  -every TIME   tick once in every TIME: 1s, 200ms, 1m30s (1s if not given)
  -text TEXT    what a tick says (tick if not given)
  -config FILE  lines such as "every = 2s" or "# comment"; SIGHUP loads FILE again.
                $DAEMONSTEPS_EVERY and $DAEMONSTEPS_TEXT override it, and flags both.
  -dir DIR      serve the status at DIR/status (if not given: in
                $RUNTIME_DIRECTORY), unless sockets are passed
  -ready N      write a line end to descriptor N when it is ready (s6)

It says when it is ready at $NOTIFY_SOCKET, logs to standard error, keeps the number of
its last tick in $STATE_DIRECTORY, and a copy of a crash's text in $LOGS_DIRECTORY.

The exit status is 0 if all went well, 2 if the command line is wrong, 6 if the
configuration is, 4 if a right is missing, and 1 if anything else is wrong; standard
error then says what, a line for each fault.
`

func main() {
	name := filepath.Base(os.Args[0])
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // One line says what is wrong. The usage is for -h.
	dir := path(os.Getenv("RUNTIME_DIRECTORY"))
	flags.Var(&dir, "dir", "")
	check := flags.Bool("check", false, "")
	ready := flags.Int("ready", 0, "")
	new(config).define(flags)

	err := flags.Parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Printf(usage, name)
		return
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v (%s -h explains)\n", name, err, name)
		os.Exit(2)
	}

	status := 1
	c, err := load(flags)
	if err != nil {
		status = 6
	} else if !*check {
		err = daemon(c, flags, string(dir), *ready)
	}
	if err == nil {
		return
	}
	if status == 1 && errors.Is(err, fs.ErrPermission) {
		status = 4
	}
	// The numbers are those of the LSB: systemctl status shows them by name, and the
	// unit says which of them a new start will not mend (systemd.exec(5)).
	fail(name, err)
	os.Exit(status)
}
