//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// step is one step of the course.
type step struct {
	name string   // the name of its folder and of its program
	news string   // what is new about its daemon, in one line
	rows []string // the rows of the tables that show it
	try  string   // what to type in the directory of this start; PID stands for its pid
}

var steps = []step{
	{"01-fork", "its launcher has ended; init or a subreaper is its parent",
		[]string{"ppid"}, ""},
	{"02-setsid", "a session and a process group of its own, with no terminal",
		[]string{"pgid", "sid", "tty"}, ""},
	{"03-close-fds", "its standard files are /dev/null; it inherits no other",
		[]string{"fd 0", "fd 1", "fd 2"}, ""},
	{"04-chdir", "it stays out of your directory, and its umask is its own",
		[]string{"cwd", "umask"}, ""},
	{"05-signals", "SIGTERM and SIGINT end it, status 0, nothing left behind",
		nil, ""},
	{"06-config", "a file and the environment set it; SIGHUP loads them again",
		[]string{"config"}, "echo text=tock >>files/conf; kill -HUP PID; tail */ticks"},
	{"07-log", "it logs to a file that can be rotated",
		[]string{"log"}, "mv files/log files/log.1; kill -HUP PID; tail files/log"},
	{"08-pidfile", "one at a time, by a locked PID file",
		[]string{"PID file"}, ""},
	{"09-ready", "its launcher returned when its socket was served",
		[]string{"socket"}, "nc -U */status"},
	{"10-refork", "it leads no session, so it cannot get a terminal",
		[]string{"pgid", "sid"}, ""},
	{"11-privileges", "its environment is reduced, and it can gain no rights",
		[]string{"environ", "newprivs"}, ""},
	{"12-systemd", "whoever starts it is its launcher, and was told when it is ready",
		[]string{"ppid"}, "nc -U status"},
}

// arguments are what a step is started with. From step 6 on it has files, in a directory
// of this start, from step 8 on a PID file that all starts of the step share.
func (s step) arguments(e entry) []string {
	var args []string
	if s.number() >= 6 {
		args = append(args, "-config", filepath.Join(e.files(), "conf"))
	}
	if s.number() >= supervised {
		return append(args, "-dir", e.dir)
	}
	if s.number() >= 7 {
		args = append(args, "-log", filepath.Join(e.files(), "log"))
	}
	if s.number() >= 8 {
		args = append(args, "-pidfile", e.pidFile())
	}
	return args
}

// conf is the configuration that a start begins with.
const conf = "every = 1s\ntext = tick\n"

// cleanStep is the first step whose daemon removes what it made.
const cleanStep = 5

func (s step) number() int {
	n, _ := strconv.Atoi(s.name[:2])
	return n
}

// findStep returns the step that word names: 3, 03 or 03-close-fds.
func findStep(word string) (step, error) {
	var names []string
	for _, s := range steps {
		if word == s.name || word == s.name[:2] || word == strconv.Itoa(s.number()) {
			return s, nil
		}
		names = append(names, s.name)
	}
	return step{}, usageError{fmt.Errorf("no step %q; the steps are %s",
		word, strings.Join(names, ", "))}
}
