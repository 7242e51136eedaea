//go:build linux

// Package isdaemon is the command line of cmd/isdaemon. It is a package so that
// the tests of this repository can run it without building it.
package isdaemon

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"daemonsteps/internal/checks"
)

const usage = `usage: isdaemon [flags] [--] COMMAND [ARG...]

Starts COMMAND again and again, as a person at a terminal would, each time on a
terminal of its own, in an empty directory, with a TMPDIR of its own. Looks in
/proc at the daemon that it leaves, closes the terminal, types ^C, sends
signals, and says which requirements of a daemon hold. Nothing that it started
stays. File names among the ARGs have to be absolute.

With -style new it starts COMMAND as a service manager would: it is to stay in
the foreground, and has no terminal, few variables of its caller's, and a
$NOTIFY_SOCKET.

  -style NAME    sysv: goes to the background by itself; new: does not (sysv)
  -through N     only the checks of lessons 1 to N
  -only ID       only this check
  -list          list the checks, and judge nothing
  -json          print one JSON object instead of a table
  -timeout TIME  how long COMMAND may take to return, and the daemon to end (5s)

Some checks need to know more of COMMAND, and are left out if they are not told.

  -bad-args ARGS   arguments that COMMAND has to refuse (faults, status)

Only for -style new:

  -activate KIND   it takes a socket that it is passed, unix or tcp (activate)

Only for -style sysv; a log or a socket that is relative counts from COMMAND's
TMPDIR, and may be a pattern:

  -starts N        how often to start COMMAND where a race may decide: directly
                   on a terminal, and for ready (20)
  -bad-start ARGS  arguments with which the daemon cannot start (told)
  -log FILE        its log; it is renamed for the check (reopen)
  -pidfile FILE    its PID file, by an absolute name (single)
  -socket FILE     a socket that it serves, or a TCP host:port (ready)
  -user NAME       the user that it becomes, by name or number (rights)

The exit status is 0 if every check holds or cannot be judged, 1 if one fails,
and 2 if none can be judged or the command line is wrong: one line on standard
error says why.
`

// Main is the program, with its arguments and its outputs. It returns the exit
// status. Whoever calls it has called lab.Main before.
func Main(args []string, stdout, stderr io.Writer) int {
	fail := func(err error) int {
		fmt.Fprintln(stderr, "isdaemon:", printable(strings.ReplaceAll(err.Error(), "\n", "; ")))
		return 2
	}
	flags := flag.NewFlagSet("isdaemon", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	styleName := flags.String("style", checks.Styles[0].Name, "")
	through := flags.Int("through", len(checks.Lessons), "")
	only := flags.String("only", "", "")
	list := flags.Bool("list", false, "")
	asJSON := flags.Bool("json", false, "")
	timeout := flags.Duration("timeout", 5*time.Second, "")
	starts := flags.Int("starts", 20, "")
	badArgs := flags.String("bad-args", "", "")
	badStart := flags.String("bad-start", "", "")
	var known checks.Options
	flags.StringVar(&known.Log, "log", "", "")
	flags.StringVar(&known.PIDFile, "pidfile", "", "")
	flags.StringVar(&known.Socket, "socket", "", "")
	flags.StringVar(&known.User, "user", "", "")
	flags.StringVar(&known.Activate, "activate", "", "")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, usage)
		return 0
	}
	if err != nil {
		return fail(fmt.Errorf("%v (isdaemon -h explains)", err))
	}
	if known.Style, err = chooseStyle(*styleName, flags); err != nil {
		return fail(err)
	}
	chosen, err := choose(known.Style, *through, *only)
	if err != nil {
		return fail(err)
	}
	if *timeout <= 0 {
		return fail(fmt.Errorf("-timeout %v is not a time to wait", *timeout))
	}
	if *starts < 1 {
		return fail(fmt.Errorf("-starts %d is not a number of starts", *starts))
	}
	if !slices.Contains([]string{"", "unix", "tcp"}, known.Activate) {
		return fail(fmt.Errorf("-activate %s is not a kind of socket: they are unix and tcp", known.Activate))
	}
	if known.PIDFile != "" && !filepath.IsAbs(known.PIDFile) { // Two daemons have two TMPDIRs.
		return fail(fmt.Errorf("-pidfile %s is relative: what keeps a second daemon away has an absolute name",
			known.PIDFile))
	}
	if known.User != "" {
		if _, err := checks.LookUpUser(known.User); err != nil {
			return fail(fmt.Errorf("-user: %w", err))
		}
	}
	if *list {
		if flags.NArg() > 0 {
			return fail(fmt.Errorf("-list takes no command, and got %q", flags.Arg(0)))
		}
		printList(stdout, chosen)
		return 0
	}
	if flags.NArg() == 0 {
		return fail(errors.New("no command given (isdaemon -h explains)"))
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	known.Checks, known.Timeout, known.Starts = chosen, *timeout, *starts
	known.BadArgs, known.BadStart = strings.Fields(*badArgs), strings.Fields(*badStart)
	report, err := checks.Run(ctx, flags.Args(), known)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; what was started has been ended")
		}
		return fail(fmt.Errorf("judge %s: %w", flags.Arg(0), err))
	}
	if *asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		err = printTable(stdout, report, useColour(stdout))
	}
	if err != nil {
		return fail(fmt.Errorf("print the report: %w", err))
	}
	switch {
	case report.Failed > 0:
		return 1
	case report.Passed == 0: // What hinders each check stands beside it.
		return fail(fmt.Errorf("judge %s: no check could be judged", flags.Arg(0)))
	}
	return 0
}

// ofOneStyle are the flags that are for one style alone.
var ofOneStyle = map[string]string{"starts": "sysv", "bad-start": "sysv", "log": "sysv", "pidfile": "sysv",
	"socket": "sysv", "user": "sysv", "activate": "new"}

// chooseStyle returns the style of that name. A flag of the other style is an error.
func chooseStyle(name string, flags *flag.FlagSet) (style checks.Style, err error) {
	var names []string
	for _, s := range checks.Styles {
		if s.Name == name {
			style = s
		}
		names = append(names, s.Name)
	}
	if style.Name == "" {
		return style, fmt.Errorf("-style %s is not a style: they are %s", name, strings.Join(names, " and "))
	}
	flags.Visit(func(f *flag.Flag) {
		if of := ofOneStyle[f.Name]; of != "" && of != name {
			err = fmt.Errorf("-%s is for -style %s, and this is %s", f.Name, of, name)
		}
	})
	return style, err
}

// choose returns the checks of a style that the flags ask for.
func choose(style checks.Style, through int, only string) ([]checks.Check, error) {
	if only != "" {
		c, ok := style.Find(only)
		if !ok {
			return nil, fmt.Errorf("no check of -style %s is called %q (-list lists them)", style.Name, only)
		}
		return []checks.Check{c}, nil
	}
	if through < 1 || through > len(checks.Lessons) {
		return nil, fmt.Errorf("-through %d is not a lesson: they are 1 to %d", through, len(checks.Lessons))
	}
	var chosen []checks.Check
	for _, c := range style.Checks {
		if c.Lesson <= through {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}
