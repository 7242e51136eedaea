package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A config is what can be set at the command line, in the environment and in a file.
type config struct {
	file  path // the file; "" for none
	log   path // the log; "" for standard error
	pid   path // the PID file; "" for none
	every interval
	text  string
	wait  interval

	user   notEmpty // whom to become; "" for nobody else
	chroot path     // the root directory to have; "" for the present one
	listen notEmpty // a TCP address; "" for none
}

// define gives flags one for each field of c, and c the defaults.
func (c *config) define(flags *flag.FlagSet) {
	c.every, c.text = interval{time.Second}, "tick"
	c.wait = interval{10 * time.Second}
	flags.Var(&c.file, "config", "")
	flags.Var(&c.log, "log", "")
	flags.Var(&c.pid, "pidfile", "")
	flags.Var(&c.wait, "wait", "")
	flags.Var(&c.user, "user", "")
	flags.Var(&c.chroot, "chroot", "")
	flags.Var(&c.listen, "listen", "")
	flags.Var(&c.every, "every", "")
	flags.Var((*line)(&c.text), "text", "")
}

// settings are the flags that file and environment set as well, by the same names
// and with the same values: -every 2s, every = 2s, DAEMONSTEPS_EVERY=2s.
var settings = []string{"every", "text"}

const prefix = "DAEMONSTEPS_"

// load returns the settings that hold now. The command line, given, counts most; then
// the environment, then the file. The error joins all faults, a line each: where it
// is, the setting, and the cause.
func load(given *flag.FlagSet) (c config, err error) {
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	c.define(flags)
	faults := readFile(given.Lookup("config").Value.String(), flags)
	faults = append(faults, readEnvironment(flags)...)
	// Last, since what is set last holds. Flags of main's own are not ours to set.
	given.Visit(func(f *flag.Flag) { flags.Set(f.Name, f.Value.String()) })
	return c, errors.Join(faults...)
}

// reload loads c again, and has tick come by it. With any fault, all stays as it is.
func (c *config) reload(given *flag.FlagSet, tick *time.Ticker) error {
	next, err := load(given)
	if err != nil {
		return fmt.Errorf("configuration not loaded: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if next.every != c.every { // Otherwise a SIGHUP would put off the next tick.
		tick.Reset(next.every.Duration)
	}
	*c = next
	return nil
}

// readFile sets what a configuration file sets: a line for each NAME = VALUE. Lines
// that are empty or begin with # say nothing. Editors of Windows put a byte order mark
// before the text and a \r at the end of each line; neither is a fault.
func readFile(name string, flags *flag.FlagSet) (faults []error) {
	if name == "" {
		return nil
	}
	text, err := readSmall(name)
	if err != nil {
		return []error{fmt.Errorf("read the configuration: %w", err)}
	}
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		setting, value, ok := strings.Cut(line, "=")
		err := fmt.Errorf("%.60q is not NAME = VALUE", line)
		if ok {
			err = set(flags, strings.TrimSpace(setting), strings.TrimSpace(value))
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s:%d: %w", name, i+1, err))
		}
	}
	return faults
}

const maxFile = 64 << 10 // bytes

// readSmall reads a file. Whatever else the name may stand for by now must not
// stop us: opening a FIFO would wait for a writer, if not for O_NONBLOCK. Nor may it
// become our terminal, should we lead a session without one in the foreground.
func readSmall(name string) (string, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return string(text), err
}

// readEnvironment sets what the environment sets.
func readEnvironment(flags *flag.FlagSet) (faults []error) {
	for _, variable := range os.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		if setting, ours := strings.CutPrefix(name, prefix); ours {
			if err := set(flags, strings.ToLower(setting), value); err != nil {
				faults = append(faults, fmt.Errorf("%s in the environment: %w", name, err))
			}
		}
	}
	return faults
}

func set(flags *flag.FlagSet, setting, value string) error {
	if !slices.Contains(settings, setting) {
		return fmt.Errorf("%.60q: no such setting; there are %s", setting, strings.Join(settings, ", "))
	}
	if err := flags.Set(setting, value); err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	return nil
}
