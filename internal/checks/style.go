//go:build linux

package checks

import (
	"fmt"
	"slices"
	"strings"

	"daemonsteps/internal/lab"
)

// A Style is a kind of daemons, and what these have to do.
type Style struct {
	Name   string  // as given to isdaemon -style
	Checks []Check // in the order of the lessons; the first says whether there is a daemon
	run    func(*bench, *lab.Lab, *facts) error
	way    lab.Way
}

var (
	// SysV is the style of daemons that go to the background by themselves.
	SysV = Style{"sysv", All, (*bench).runJob, lab.Job}
	// New is the style of daemons that stay with the service manager that starts them:
	// daemon(7) calls it new.
	New = Style{"new", ofNewStyle, (*bench).runService, lab.Service}
)

// Styles are all styles; the first is the one that is meant if none is named.
var Styles = []Style{SysV, New}

// Find returns the check of that name.
func (s Style) Find(id string) (Check, bool) {
	i := slices.IndexFunc(s.Checks, func(c Check) bool { return c.ID == id })
	if i < 0 {
		return Check{}, false
	}
	return s.Checks[i], true
}

// ofNewStyle are the checks of the new style, in the order of the lessons. What is
// demanded of daemons of both styles has the same name in both.
//
// Whether a reload is announced is a check of its own. A daemon that is reloaded and
// tells nobody has met what daemon(7) asks of SIGHUP, and one that says nothing at
// $NOTIFY_SOCKET at all has nothing to announce.
var ofNewStyle = []Check{
	{ID: "foreground", Title: "the process that was started is the daemon: it does not detach", Lesson: 1,
		Source: "daemon(7), New-style daemons; systemd.service(5), Type=", needs: needJob, judge: judgeForeground},
	{ID: "term", Title: "SIGTERM ends it with status 0, and nothing of it stays behind", Lesson: 5,
		Source: "daemon(7), New-style daemons, step 1", needs: needJob | needEnd, judge: judgeShutDown},
	{ID: "reload", Title: "SIGHUP does not end it", Lesson: 6,
		Source: "daemon(7), New-style daemons, step 2", needs: needJob | needReload, judge: judgeReload},
	{ID: "faults", Title: "what it is told wrong, it refuses, with nothing left", Lesson: 6,
		Source: "daemon(7), New-style daemons, step 3", needs: needJob | needFaults, judge: judgeFaults,
		flag: "-bad-args", given: func(o Options) bool { return len(o.BadArgs) > 0 }},
	{ID: "stderr", Title: "its words go to standard error", Lesson: 7,
		Source: "daemon(7), New-style daemons, step 10", needs: needJob | needReload | needEnd, judge: judgeStderr},
	{ID: "terminal", Title: "it acquires no terminal", Lesson: 10,
		Source: "daemon(7), New-style daemons, step 11; open(2), O_NOCTTY", needs: needJob | needReload, judge: judgeAcquires},
	{ID: "notify", Title: "it says READY=1 at $NOTIFY_SOCKET, itself", Lesson: 12,
		Source: "daemon(7), New-style daemons, step 9; sd_notify(3)", needs: needJob, judge: judgeNotify},
	{ID: "reloading", Title: "a reload begins with RELOADING=1 and ends with READY=1", Lesson: 12,
		Source: "sd_notify(3), RELOADING=1; systemd.service(5), Type=notify-reload", needs: needJob | needReload, judge: judgeReloading},
	{ID: "activate", Title: "it accepts the clients of a socket that it is passed", Lesson: 12,
		Source: "daemon(7), New-style daemons, step 8; sd_listen_fds(3)", needs: needJob, judge: judgeActivate,
		flag: "-activate", given: func(o Options) bool { return o.Activate != "" }},
	{ID: "status", Title: "it refuses with a status that the LSB has for it", Lesson: 12,
		Source: "daemon(7), New-style daemons, step 3; systemd.exec(5), Process Exit Codes", needs: needJob | needFaults, judge: judgeStatus,
		flag: "-bad-args", given: func(o Options) bool { return len(o.BadArgs) > 0 }},
}

func judgeForeground(f *facts) (Verdict, string) {
	j, s := f.job, f.service
	switch {
	case j.restless > 0:
		return Fail, fmt.Sprintf("it starts itself again and again: %d processes had come to their end within %v, "+
			"and none stays", j.restless, j.restTime)
	case j.daemon == nil:
		return Fail, fmt.Sprintf("it has detached: the command ended with %v, and %s lives on", j.exit, name(s.detached))
	case len(s.strays) > 0:
		return Fail, fmt.Sprintf("%s stays, but process %d has got away from it, and is now a child of whoever started it",
			name(j.daemon), s.strays[0])
	}
	evidence := fmt.Sprintf("%s is still there, a child of %d, which started it", name(j.daemon), j.daemon.PPID)
	if n := len(j.live) - 1; n > 0 {
		evidence += "; below it " + count(n, "process", "processes")
	}
	return Pass, evidence
}

// judgeShutDown is judgeTerm and judgeLeftovers in one. Most of what daemons of the other
// style leave behind is their service manager's here, and there may be nothing to leave.
func judgeShutDown(f *facts) (Verdict, string) {
	verdict, evidence := judgeTerm(f)
	if verdict == Pass {
		left, what := judgeLeftovers(f)
		evidence += "; " + what
		if left == Fail {
			return Fail, evidence
		}
	}
	return verdict, evidence
}

// quoted shows the beginning of the first line of what was said.
func quoted(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	const most = 60
	if r := []rune(line); len(r) > most {
		line = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", line)
}

func judgeStderr(f *facts) (Verdict, string) {
	s, pipe := f.service, f.job.info.Pipes[1]
	fd2 := "closed"
	held := false // also by another number
	for _, fd := range f.job.daemon.FDs {
		if fd.FD == 2 {
			fd2 = fd.Target
		}
		held = held || pipe == lab.File{Dev: fd.Dev, Ino: fd.Ino}
	}
	switch {
	case !held:
		return Fail, fmt.Sprintf("it has let go of what it was started with: descriptor 2 is %s", fd2)
	case s.stderr != "":
		return Pass, "there it said " + quoted(s.stderr)
	case s.stdout != "":
		return Fail, "it said nothing there, and on standard output " + quoted(s.stdout)
	}
	return Skip, "it said nothing there, and nothing on standard output: its words, if it has any, go elsewhere"
}

func judgeAcquires(f *facts) (Verdict, string) {
	switch {
	case f.job.daemon.TTYNr != 0:
		return Fail, "its controlling terminal is " + f.job.daemon.TTY
	case f.service.reloaded.TTYNr != 0:
		return Fail, "since SIGHUP its controlling terminal is " + f.service.reloaded.TTY
	}
	return Pass, fmt.Sprintf("it is in session %d, which has no terminal", f.job.daemon.SID)
}

// ofMain returns the place of the first message with this assignment that the main
// process sent. By default a service manager listens to no other (NotifyAccess=main).
func ofMain(f *facts, list []lab.Notice, assignment string) int {
	return slices.IndexFunc(list, func(n lab.Notice) bool { return n.PID == f.job.daemon.PID && n.Has(assignment) })
}

func judgeNotify(f *facts) (Verdict, string) {
	said, main := f.service.said, f.job.daemon.PID
	if ofMain(f, said, "READY=1") >= 0 {
		return Pass, fmt.Sprintf("READY=1 came from process %d, the main process", main)
	}
	if i := slices.IndexFunc(said, func(n lab.Notice) bool { return n.Has("READY=1") }); i >= 0 {
		return Fail, fmt.Sprintf("READY=1 came from process %d, and the main process is %d", said[i].PID, main)
	}
	if len(said) > 0 {
		return Fail, fmt.Sprintf("it said %s there, and not READY=1", quoted(said[0].Text))
	}
	return Fail, fmt.Sprintf("it had said nothing there when it was at rest, and for %v after that", f.job.restTime)
}

func judgeReloading(f *facts) (Verdict, string) {
	switch v, evidence := judgeReload(f); {
	case ofMain(f, f.service.said, "READY=1") < 0:
		return Skip, "it does not say READY=1 when it is started: see notify"
	case v == Fail:
		return Skip, "SIGHUP: " + evidence
	}
	said := f.service.reloading
	i := ofMain(f, said, "RELOADING=1")
	switch {
	case i < 0 && len(said) > 0:
		return Fail, fmt.Sprintf("after SIGHUP it said %s, and not RELOADING=1", quoted(said[0].Text))
	case i < 0:
		return Fail, "after SIGHUP it said nothing: nobody can know when it has done what it was told"
	case ofMain(f, said[i:], "READY=1") < 0:
		return Fail, "it said RELOADING=1, and then no READY=1: it is taken to be reloading for ever"
	}
	return Pass, "after SIGHUP it said RELOADING=1 and then READY=1"
}

// client is what became of a client of the passed socket.
type client struct {
	waits  bool // nobody has accepted it
	told   string
	closed bool
}

func (c client) String() string {
	switch {
	case c.waits:
		return "not accepted by anybody"
	case c.told != "":
		return "told " + quoted(c.told)
	case c.closed:
		return "accepted, and told nothing"
	}
	return "accepted"
}

func judgeActivate(f *facts) (Verdict, string) {
	a := f.service
	evidence := fmt.Sprintf("a client from before the start was %v", a.before)
	if a.before.waits {
		return Fail, evidence
	}
	evidence += fmt.Sprintf("; one from after it was %v", a.after)
	if a.after.waits {
		return Fail, evidence
	}
	return Pass, evidence
}

// statuses are those of the LSB for what is wrong about how a program is called.
var statuses = map[int]string{2: "invalid argument", 6: "not configured"}

func judgeStatus(f *facts) (Verdict, string) {
	r := f.faults
	switch meaning := statuses[r.exit.Status]; {
	case r.never:
		return Fail, fmt.Sprintf("the command had not ended after %v", f.options.Timeout)
	case r.exit.Signal != 0:
		return Fail, "the command was " + r.exit.String()
	case meaning == "":
		return Fail, fmt.Sprintf("%v: the LSB has 2 for an invalid argument, and 6 for a program that is not configured", r.exit)
	default:
		return Pass, fmt.Sprintf("%v: %s", r.exit, meaning)
	}
}
