// Step starts a step of the course from the reader's own terminal, shows what
// became of it by the kernel's account, and ends it again. make stepN and make
// stop run it.
package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

const usage = `usage: step start N   start step N here, show what the kernel says about it
       step stop      end what was started so, remove what it left behind
       step list      print the steps

N is a number or a name: 3, 03 or 03-close-fds. The step's program must lie
beside this one; make stepN builds both and runs step start N.

The exit status is 0 if all went well, 2 if the command line is wrong, and 1
if anything else is; one line on standard error then says what. A step that
does not start gives its own status.
`

// usageError is an error in the command line.
type usageError struct{ error }

// statusError is an error that asks for an exit status of its own. If said is
// true, the program that we ran has told the reader already.
type statusError struct {
	status int
	said   bool
	error
}

func main() {
	err := run(os.Args[1:])
	if err == nil {
		return
	}
	status := 1
	var s statusError
	switch {
	case errors.As(err, new(usageError)):
		status = 2
		err = fmt.Errorf("%w (step -h explains)", err)
	case errors.As(err, &s):
		status = s.status
	}
	if s.said {
		os.Exit(status)
	}
	// Joined errors stand on one line each.
	fmt.Fprintln(os.Stderr, "step:", strings.ReplaceAll(err.Error(), "\n", "; "))
	os.Exit(status)
}

func run(args []string) error {
	command := strings.Join(args[:min(1, len(args))], "")
	switch {
	case command == "-h" || command == "-help" || command == "--help":
		return say(usage)
	case command == "start" && len(args) == 2:
		s, err := findStep(args[1])
		if err != nil {
			return err
		}
		return start(s)
	case command == "stop" && len(args) == 1:
		return stop()
	case command == "list" && len(args) == 1:
		return list()
	case command == "start":
		return usageError{errors.New("start needs one step")}
	case command == "stop" || command == "list":
		return usageError{fmt.Errorf("unexpected argument %q", args[1])}
	case command == "":
		return usageError{errors.New("start, stop or list?")}
	}
	return usageError{fmt.Errorf("unknown command %q", command)}
}

func list() error {
	var text strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&text, "%d  %s\n", s.number(), s.name)
	}
	return say(text.String())
}

// say writes text to standard output, all at once: a daemon that writes to the
// same terminal does not land in the middle of it.
func say(text string) error {
	if _, err := os.Stdout.WriteString(text); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}
