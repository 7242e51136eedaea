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
	"strings"
)

const usage = `usage: %[1]s [flags]              start the daemon, say its pid, end
       %[1]s -foreground [flags]  be the daemon, here
       %[1]s -stop -pidfile FILE  end the daemon, and wait until it has ended

  -every TIME   tick once in every TIME: 1s, 200ms, 1m30s (1s if not given)
  -text TEXT    what a tick says (tick if not given)
  -config FILE  lines such as "every = 2s" or "# comment"; SIGHUP loads FILE again.
                $DAEMONSTEPS_EVERY and $DAEMONSTEPS_TEXT override it, and flags both.
  -log FILE     write the log to FILE (if not given: to DIR/log, which goes with DIR;
                with -foreground to standard error). SIGHUP has FILE opened again.
  -pidfile FILE hold FILE, with the pid in it: one daemon at a time does
  -dir DIR      the daemon's own directory (if not given: a new one in $TMPDIR)
  -wait TIME    give up if the daemon is not ready after TIME (10s if not given)
  -ready N      with -foreground: write a line end to descriptor N when it is ready
  -foreground   no launcher: for a debugger, a container, or an init that
                starts it

The exit status is 0 if all went well, 2 if the command line is wrong, and 1
if anything else is; standard error then says what, a line for each fault.
`

func main() {
	name := filepath.Base(os.Args[0])
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // One line says what is wrong. The usage is for -h.
	dir := flags.String("dir", "", "")
	foreground := flags.Bool("foreground", false, "")
	ready := flags.Int("ready", 0, "")
	stop := flags.Bool("stop", false, "")
	new(config).define(flags)

	err := flags.Parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		fmt.Printf(usage, name)
		return
	}
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err == nil && *stop && (*foreground || flags.Lookup("pidfile").Value.String() == "") {
		err = errors.New("-stop needs -pidfile, and no -foreground")
	}
	if err == nil && *dir != "" && !*foreground {
		err = fmt.Errorf("-dir %s needs -foreground", *dir)
	}
	if err == nil && *ready != 0 && !*foreground {
		err = fmt.Errorf("-ready %d needs -foreground", *ready)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v (%s -h explains)\n", name, err, name)
		os.Exit(2)
	}

	c, err := load(flags)
	if *stop { // also with a configuration that is faulty by now
		err = stopDaemon(c)
	} else if err == nil {
		err = openLog(string(c.log)) // In the launcher to see that it can be.
	}
	err = errors.Join(err, connect(*ready, c.wait.Duration))
	if err == nil && *foreground {
		err = daemon(c, flags, *dir)
		if err == nil || c.log != "" { // If not, it is said below, in the same place.
			report("ended", err)
		}
	} else if err == nil && !*stop {
		// The daemon gets -foreground, and every other flag that we got.
		args := []string{"-foreground"}
		flags.Visit(func(f *flag.Flag) {
			if f.Name != "foreground" && f.Name != "dir" && f.Name != "stop" {
				args = append(args, "-"+f.Name, f.Value.String())
			}
		})
		err = launch(c, args)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, strings.ReplaceAll(err.Error(), "\n", "\n"+name+": "))
		os.Exit(tell(err))
	}
}
