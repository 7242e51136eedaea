//go:build linux

// Package checks holds what a daemon must do as one table, and judges any program
// by it. There are daemons of two styles: those of SysV go to the background by
// themselves, and those of the new style stay with the service manager that starts them.
//
// A program is started a number of times (runs.go), each time in a fresh lab.
// What the kernel then says of it is kept as facts. A check reads the facts and
// gives a verdict with the evidence for it; it starts nothing itself.
package checks

import (
	"errors"
	"fmt"
	"io/fs"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"daemonsteps/internal/lab"
	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// A Verdict is what a check comes to.
type Verdict string

const (
	Pass Verdict = "pass"
	Fail Verdict = "fail"
	// Skip says that there is nothing to judge, or that it cannot be judged. The
	// evidence is then the reason.
	Skip Verdict = "skip"
)

// A Check is one requirement of a daemon.
type Check struct {
	ID     string // one word, as given to isdaemon -only
	Title  string // what a daemon does that meets it
	Lesson int    // the step that teaches it
	Source string // where it is written
	needs  need   // the runs whose facts it reads
	judge  func(*facts) (Verdict, string)

	// The flag of isdaemon without which there is nothing to judge, and whether its
	// value is given. A check that needs none has no flag.
	flag  string
	given func(Options) bool
}

// Doc returns the path of the lesson in this repository.
func (c Check) Doc() string { return Doc(c.Lesson) }

// Doc returns the path of a lesson in this repository.
func Doc(lesson int) string { return "docs/" + Lessons[lesson-1] + ".md" }

// Lessons are the names of the lessons that checks are taught in, in order.
var Lessons = []string{"01-fork", "02-setsid", "03-close-fds", "04-chdir", "05-signals",
	"06-config", "07-log", "08-pidfile", "09-ready", "10-refork", "11-privileges", "12-systemd"}

// All are the checks of the style of SysV, in the order of the lessons.
var All = []Check{
	{ID: "background", Title: "the command returns with status 0, and something lives on", Lesson: 1,
		Source: "daemon(7), SysV daemons, steps 5 and 15", needs: needJob, judge: judgeBackground},
	{ID: "orphan", Title: "it is a child of init or of the nearest subreaper", Lesson: 1,
		Source: "daemon(7), SysV daemons, step 8; PR_SET_CHILD_SUBREAPER(2const)", needs: needJob, judge: judgeOrphan},
	{ID: "session", Title: "it is not in the terminal's session", Lesson: 2,
		Source: "daemon(7), SysV daemons, step 6; setsid(2)", needs: needJob, judge: judgeSession},
	{ID: "terminal", Title: "it has no controlling terminal", Lesson: 2,
		Source: "daemon(7), SysV daemons, step 6; credentials(7), Sessions", needs: needJob, judge: judgeTerminal},
	{ID: "hangup", Title: "it survives the closing of the terminal", Lesson: 2,
		Source: "setsid(2), NOTES; signal(7), SIGHUP", needs: needJob | needHangup | needDirect, judge: judgeHangup},
	{ID: "interrupt", Title: "it survives a ^C typed where it was started", Lesson: 2,
		Source: "setsid(2); termios(3), ISIG", needs: needPipe, judge: judgeInterrupt},
	{ID: "stdio", Title: "descriptors 0, 1, 2 are open, usable, and not its caller's", Lesson: 3,
		Source: "daemon(7), SysV daemons, step 9", needs: needJob | needPipe, judge: judgeStdio},
	{ID: "pipe", Title: "who reads the command's output comes to its end", Lesson: 3,
		Source: "pipe(7), I/O on pipes and FIFOs", needs: needPipe, judge: judgePipe},
	{ID: "leaks", Title: "it has no descriptor that its caller left open", Lesson: 3,
		Source: "daemon(7), SysV daemons, step 1", needs: needJob, judge: judgeLeaks},
	{ID: "cwd", Title: "it does not keep busy the file system it was started from", Lesson: 4,
		Source: "daemon(7), SysV daemons, step 11; umount(2), EBUSY", needs: needJob, judge: judgeCwd},
	{ID: "umask", Title: "its umask does not depend on its caller's", Lesson: 4,
		Source: "daemon(7), SysV daemons, step 10; umask(2)", needs: needJob | needPipe, judge: judgeUmask},
	{ID: "term", Title: "SIGTERM ends it with status 0", Lesson: 5,
		Source: "daemon(7), New-style daemons, step 1", needs: needJob | needEnd, judge: judgeTerm},
	{ID: "int", Title: "SIGINT ends it with status 0", Lesson: 5,
		Source: "signal(7), SIGINT", needs: needPipe, judge: judgeInt},
	{ID: "signals", Title: "what its caller blocked or ignored changes none of that", Lesson: 5,
		Source: "daemon(7), SysV daemons, steps 2 and 3; execve(2)", needs: needJob | needEnd | needPipe | needSignals, judge: judgeSignals},
	{ID: "leftovers", Title: "no process and no file of its own stays behind", Lesson: 5,
		Source: "PEP 3143, Correct daemon behaviour; signal(7), SIGTERM", needs: needJob | needEnd, judge: judgeLeftovers},
	{ID: "reload", Title: "SIGHUP does not end it", Lesson: 6,
		Source: "daemon(7), New-style daemons, step 2", needs: needJob | needReload, judge: judgeReload},
	{ID: "faults", Title: "what it is told wrong, the command refuses, with nothing left", Lesson: 6,
		Source: "daemon(7), SysV daemons, step 15", needs: needJob | needFaults, judge: judgeFaults,
		flag: "-bad-args", given: func(o Options) bool { return len(o.BadArgs) > 0 }},
	{ID: "reopen", Title: "on SIGHUP it goes on in a new log when the old is renamed", Lesson: 7,
		Source: "logrotate(8), postrotate", needs: needJob | needReload, judge: judgeReopen,
		flag: "-log", given: func(o Options) bool { return o.Log != "" }},
	{ID: "single", Title: "a second start is refused; one after SIGKILL is not", Lesson: 8,
		Source: "daemon(7), SysV daemons, step 12", needs: needJob | needSingle, judge: judgeSingle,
		flag: "-pidfile", given: func(o Options) bool { return o.PIDFile != "" }},
	{ID: "ready", Title: "a client can connect as soon as the command has returned", Lesson: 9,
		Source: "daemon(7), SysV daemons, step 14", needs: needJob | needReady, judge: judgeReady,
		flag: "-socket", given: func(o Options) bool { return o.Socket != "" }},
	{ID: "told", Title: "a daemon that cannot start is told by the command", Lesson: 9,
		Source: "daemon(7), SysV daemons, step 15", needs: needJob | needTold, judge: judgeTold,
		flag: "-bad-start", given: func(o Options) bool { return len(o.BadStart) > 0 }},
	{ID: "leader", Title: "it leads no session, so that no terminal can become its own", Lesson: 10,
		Source: "daemon(7), SysV daemons, step 7; open(2), O_NOCTTY", needs: needJob, judge: judgeLeader},
	{ID: "rights", Title: "it has the rights of its user, and no others", Lesson: 11,
		Source: "daemon(7), SysV daemons, step 13; capabilities(7)", needs: needJob, judge: judgeRights,
		flag: "-user", given: func(o Options) bool { return o.User != "" }},
	{ID: "newprivs", Title: "it cannot gain rights by starting a program", Lesson: 11,
		Source: "PR_SET_NO_NEW_PRIVS(2const)", needs: needJob, judge: judgeNewPrivs},
	{ID: "environ", Title: "it does not have its caller's environment", Lesson: 11,
		Source: "daemon(7), SysV daemons, step 4", needs: needJob, judge: judgeEnviron},
}

// Find returns the check of the style of SysV that has this name.
func Find(id string) (Check, bool) { return SysV.Find(id) }

// name shows a process to a reader.
func name(p *proc.Process) string { return fmt.Sprintf("process %d (%s)", p.PID, p.Comm) }

func judgeBackground(f *facts) (Verdict, string) {
	j := f.job
	switch {
	case j.never:
		return Fail, fmt.Sprintf("the command had not ended after %v: does it run in the foreground? "+
			"Under an init that is right; a daemon of the old style goes on without its caller", f.options.Timeout)
	case j.restless > 0:
		return Fail, fmt.Sprintf("it starts itself again and again: %d processes had come to their end within %v, "+
			"and none stays", j.restless, j.restTime)
	case !j.exit.OK():
		return Fail, fmt.Sprintf("%s lives on, but the command ended with %v", name(j.daemon), j.exit)
	}
	evidence := fmt.Sprintf("status 0, and %s lives on", name(j.daemon))
	if n := len(j.live) - 1; n > 0 {
		evidence += fmt.Sprintf(", and %d more", n)
	}
	return Pass, evidence
}

func judgeOrphan(f *facts) (Verdict, string) {
	if f.job.daemon.PPID == f.job.guardian {
		return Pass, fmt.Sprintf("its parent is %d, the nearest subreaper", f.job.guardian)
	}
	parent := "another process"
	if f.job.daemon.PPID == f.job.info.Leader {
		parent = "the shell that it was started from"
	}
	return Fail, fmt.Sprintf("its parent is %d, %s; it would be %d, the nearest subreaper",
		f.job.daemon.PPID, parent, f.job.guardian)
}

func judgeSession(f *facts) (Verdict, string) {
	if f.job.daemon.SID == f.job.info.Leader {
		return Fail, fmt.Sprintf("its session is %d, the terminal's", f.job.daemon.SID)
	}
	return Pass, fmt.Sprintf("its session is %d, the terminal's is %d", f.job.daemon.SID, f.job.info.Leader)
}

func judgeTerminal(f *facts) (Verdict, string) {
	if f.job.daemon.TTYNr != 0 {
		return Fail, "its controlling terminal is " + f.job.daemon.TTY
	}
	return Pass, "it has no controlling terminal"
}

func judgeHangup(f *facts) (Verdict, string) {
	d := f.direct
	verdict, job := Pass, "as a shell's job it survived"
	if f.job.hangup.died {
		verdict, job = Fail, "as a shell's job it was "+ended(f.job.hangup.exit)
	}
	if d.survived < d.starts {
		verdict = Fail
	}
	direct := fmt.Sprintf("started directly on the terminal it survived %d of %d times", d.survived, d.starts)
	if len(d.ends) > 0 {
		direct += " (" + strings.Join(d.ends, ", ") + ")"
	}
	return verdict, job + "; " + direct
}

// ended says how a process ended, to be put behind "was" or "it".
func ended(e lab.Exit) string {
	if e.Signal != 0 {
		return e.String()
	}
	return fmt.Sprintf("ended, with status %d", e.Status)
}

func judgeInterrupt(f *facts) (Verdict, string) {
	if f.pipe.interrupt.died {
		return Fail, "it was " + ended(f.pipe.interrupt.exit)
	}
	return Pass, "it survived"
}

func judgeStdio(f *facts) (Verdict, string) {
	var wrong, right []string
	for n := range 3 {
		at := func(p *proc.Process) (proc.FD, bool) {
			i := slices.IndexFunc(p.FDs, func(fd proc.FD) bool { return fd.FD == n })
			if i < 0 {
				return proc.FD{}, false
			}
			return p.FDs[i], true
		}
		fd, open := at(f.job.daemon)
		piped, pipedOpen := at(f.pipe.daemon)
		usable, use := fd.Readable(), "reading"
		if n > 0 {
			usable, use = fd.Writable(), "writing"
		}
		switch {
		case !open:
			wrong = append(wrong, fmt.Sprintf("%d is closed", n))
		case isTerminal(fd, f.job.info):
			wrong = append(wrong, fmt.Sprintf("%d is %s, the terminal", n, fd.Target))
		case pipedOpen && isPipe(piped, f.pipe.info):
			wrong = append(wrong, fmt.Sprintf("%d is the caller's %s", n, piped.Target))
		case fd.Kind == "dir":
			wrong = append(wrong, fmt.Sprintf("%d is %s, a directory", n, fd.Target))
		case !usable:
			wrong = append(wrong, fmt.Sprintf("%d is %s, not open for %s", n, fd.Target, use))
		default:
			right = append(right, fmt.Sprintf("%d is %s", n, fd.Target))
		}
	}
	if len(wrong) > 0 {
		return Fail, strings.Join(wrong, "; ")
	}
	return Pass, strings.Join(right, "; ")
}

func isTerminal(fd proc.FD, s lab.SessionInfo) bool {
	return fd.Target == "/dev/"+s.TTY || fd.Target == "/dev/tty"
}

func isPipe(fd proc.FD, s lab.SessionInfo) bool {
	return slices.Contains(s.Pipes, lab.File{Dev: fd.Dev, Ino: fd.Ino})
}

func judgePipe(f *facts) (Verdict, string) {
	if f.pipe.ended {
		return Pass, "nobody holds the pipe open for writing"
	}
	var held []string
	for _, fd := range f.pipe.daemon.FDs {
		if isPipe(fd, f.pipe.info) {
			held = append(held, fmt.Sprint(fd.FD))
		}
	}
	if len(held) == 0 {
		return Fail, "a process that it started holds the pipe open for writing"
	}
	return Fail, fmt.Sprintf("%s holds the pipe open, as descriptor %s", name(f.pipe.daemon), strings.Join(held, " and "))
}

func judgeLeaks(f *facts) (Verdict, string) {
	var leaks []string
	for _, fd := range f.job.daemon.FDs {
		if fd.FD >= 3 && (fd.Target == f.job.held || isTerminal(fd, f.job.info)) {
			leaks = append(leaks, fmt.Sprintf("%d is %s", fd.FD, fd.Target))
		}
	}
	if len(leaks) > 0 {
		return Fail, strings.Join(leaks, "; ") + ", open in its caller"
	}
	return Pass, fmt.Sprintf("descriptors %d and %d, open in its caller, are not open in it", heldFDs[0], heldFDs[1])
}

func judgeCwd(f *facts) (Verdict, string) {
	d, start := f.job.daemon, f.job.info.Start
	within := func(path string) bool {
		path = strings.TrimSuffix(path, " (deleted)")
		return path == start || strings.HasPrefix(path, start+"/")
	}
	var keeps []string
	if within(d.Cwd) {
		keeps = append(keeps, "its working directory is "+d.Cwd+", where it was started")
	}
	if within(d.Root) {
		keeps = append(keeps, "its root is "+d.Root+", where it was started")
	}
	for _, fd := range d.FDs {
		if within(fd.Target) {
			keeps = append(keeps, fmt.Sprintf("descriptor %d is %s, where it was started", fd.FD, fd.Target))
		}
	}
	if len(keeps) > 0 {
		return Fail, strings.Join(keeps, "; ")
	}
	return Pass, "its working directory is " + d.Cwd
}

func judgeUmask(f *facts) (Verdict, string) {
	a, b := f.job.daemon.Umask, f.pipe.daemon.Umask
	if a != b {
		return Fail, fmt.Sprintf("it is %v under a caller with %04o, and %v under one with %04o", a, jobUmask, b, pipeUmask)
	}
	return Pass, fmt.Sprintf("it is %v under callers with %04o and %04o", a, jobUmask, pipeUmask)
}

// judgeEnd judges how a signal ended the daemon.
func judgeEnd(e end, sig syscall.Signal) (Verdict, string) {
	switch {
	case e.ignored != "":
		return Fail, "it " + e.ignored + " " + proc.SignalName(int(sig))
	case e.err != nil:
		return Fail, e.err.Error()
	case e.exit.Signal != 0:
		return Fail, "it was " + e.exit.String() + ", with no chance to clean up"
	case e.exit.Status != 0:
		return Fail, fmt.Sprintf("it ended, but with status %d", e.exit.Status)
	}
	return Pass, "it ended with status 0"
}

func judgeTerm(f *facts) (Verdict, string) { return judgeEnd(f.job.term, syscall.SIGTERM) }

func judgeInt(f *facts) (Verdict, string) { return judgeEnd(f.pipe.int, syscall.SIGINT) }

func judgeSignals(f *facts) (Verdict, string) {
	var wrong []string
	keeps := func(verb string, with, without []string) {
		var names []string
		for _, s := range plantedSignals {
			n := proc.SignalName(int(s))
			if slices.Contains(with, n) && !slices.Contains(without, n) {
				names = append(names, n)
			}
		}
		if len(names) > 0 {
			wrong = append(wrong, verb+" "+strings.Join(names, ", "))
		}
	}
	keeps("it still ignores", f.signalsTerm.daemon.Ignored, f.pipe.daemon.Ignored)
	keeps("it still blocks", f.signalsTerm.daemon.Blocked, f.pipe.daemon.Blocked)
	for _, c := range []struct {
		sig           syscall.Signal
		with, without end
	}{
		{syscall.SIGTERM, f.signalsTerm.end, f.job.term},
		{syscall.SIGINT, f.signalsInt.end, f.pipe.int},
	} {
		v, evidence := judgeEnd(c.with, c.sig)
		if usual, _ := judgeEnd(c.without, c.sig); v != usual && c.with.ignored == "" {
			wrong = append(wrong, proc.SignalName(int(c.sig))+": "+evidence)
		}
	}
	if len(wrong) > 0 {
		return Fail, strings.Join(wrong, "; ")
	}
	return Pass, "it ignores and blocks none of them, and ends as without"
}

func judgeLeftovers(f *facts) (Verdict, string) {
	p := f.job
	switch {
	case p.term.ignored != "" || p.term.err != nil:
		return Skip, "SIGTERM did not end it"
	case len(p.filesAfter) > 0 || p.liveAfter > 0:
		var left []string
		if n := p.liveAfter; n > 0 {
			left = append(left, count(n, "process", "processes"))
		}
		if len(p.filesAfter) > 0 {
			left = append(left, "in its TMPDIR: "+list(p.filesAfter))
		}
		return Fail, "left behind: " + strings.Join(left, "; ")
	case len(p.filesBefore) == 0 && p.liveBefore == 1:
		return Skip, "it made no file in its TMPDIR and no second process, so there was nothing to leave"
	}
	var gone []string
	if p.liveBefore > 1 {
		gone = append(gone, count(p.liveBefore, "process", "processes"))
	}
	if len(p.filesBefore) > 0 {
		gone = append(gone, list(p.filesBefore))
	}
	return Pass, "gone: " + strings.Join(gone, "; ")
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// list shows the first of some paths.
func list(paths []string) string {
	const most = 3
	if len(paths) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(paths[:most], ", "), len(paths)-most)
	}
	return strings.Join(paths, ", ")
}

// files returns all paths below dir, relative to it.
func files(dir string) []string {
	var paths []string
	filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); err == nil && rel != "." {
			paths = append(paths, rel)
		}
		return nil
	})
	return paths
}

func judgeReload(f *facts) (Verdict, string) {
	switch {
	case slices.Contains(f.job.daemon.Ignored, "SIGHUP"):
		return Fail, "it ignores SIGHUP, so that nothing can be loaded again"
	case blocks(f.job.daemon, "SIGHUP"):
		return Fail, "it blocks SIGHUP, so that nothing can be loaded again"
	case f.job.reload.died:
		return Fail, "it was " + ended(f.job.reload.exit)
	}
	return Pass, fmt.Sprintf("it goes on, as process %d", f.job.daemon.PID)
}

// refused judges a command that was to fail.
func refused(r refusal, timeout time.Duration) (Verdict, string) {
	var wrong []string
	switch {
	case r.never:
		return Fail, fmt.Sprintf("the command had not ended after %v", timeout)
	case r.exit.OK():
		wrong = append(wrong, "the command ended with status 0")
	case r.exit.Signal != 0:
		wrong = append(wrong, "the command was "+r.exit.String())
	}
	if r.said == "" {
		wrong = append(wrong, "it said nothing")
	}
	if len(r.live) > 0 {
		wrong = append(wrong, count(len(r.live), "process lives", "processes live")+" on")
	}
	if len(r.files) > 0 {
		wrong = append(wrong, "in its TMPDIR it left "+list(r.files))
	}
	if len(wrong) > 0 {
		return Fail, strings.Join(wrong, "; ")
	}
	return Pass, fmt.Sprintf("%v: %s", r.exit, r.said)
}

func judgeFaults(f *facts) (Verdict, string) { return refused(f.faults, f.options.Timeout) }

func judgeTold(f *facts) (Verdict, string) { return refused(f.told, f.options.Timeout) }

func judgeReopen(f *facts) (Verdict, string) {
	switch r := f.job.log; {
	case errors.Is(r.err, fs.ErrNotExist):
		return Fail, fmt.Sprintf("there was no log to rename: %v", r.err)
	case r.err != nil:
		return Skip, fmt.Sprintf("its log could not be renamed: %v", r.err)
	case f.job.reload.died:
		return Fail, "it was " + ended(f.job.reload.exit)
	case r.blind != nil && (r.old || !r.fresh):
		return Skip, fmt.Sprintf("it has not opened a new log at once, and we could not wait for that: %v", r.blind)
	case r.old:
		return Fail, "it goes on in the renamed log"
	case !r.fresh:
		return Fail, "it has no log open any more"
	}
	return Pass, "it has the new log open, and not the renamed one"
}

func judgeSingle(f *facts) (Verdict, string) {
	s := f.single
	var wrong []string
	switch {
	case s.first == 0: // There is nothing to say but that.
		return Fail, afterKill(s.again)
	case s.never:
		wrong = append(wrong, fmt.Sprintf("a second start had not ended after %v", f.options.Timeout))
	case s.second != 0:
		wrong = append(wrong, fmt.Sprintf("a second start left process %d, beside %d", s.second, s.first))
	case s.exit.OK():
		wrong = append(wrong, "a second start ended with status 0")
	case s.exit.Signal != 0:
		wrong = append(wrong, "a second start was "+s.exit.String())
	case s.said == "":
		wrong = append(wrong, fmt.Sprintf("a second start ended with %v, and said nothing", s.exit))
	}
	if s.died {
		wrong = append(wrong, fmt.Sprintf("the first, process %d, has ended", s.first))
	}
	if s.names != fmt.Sprint(s.first) {
		wrong = append(wrong, fmt.Sprintf("the PID file says %.20q, and the daemon is %d", s.names, s.first))
	} else if !s.died && s.second == 0 && s.after != s.names {
		wrong = append(wrong, fmt.Sprintf("a second start changes the PID file: it says %.20q, and the daemon is %d", s.after, s.first))
	}
	if s.again != nil {
		wrong = append(wrong, afterKill(s.again))
	}
	if len(wrong) > 0 {
		return Fail, strings.Join(wrong, "; ")
	}
	return Pass, fmt.Sprintf("a second start ended with %v: %s", s.exit, s.said)
}

func afterKill(err error) string {
	return "when the last one was ended by SIGKILL: " + strings.TrimPrefix(err.Error(), errUnsteady.Error()+": ")
}

func judgeReady(f *facts) (Verdict, string) {
	r := f.ready
	if r.stranger {
		return Skip, "another program serves it already: a client could connect with no daemon there"
	}
	if r.connected < r.starts {
		return Fail, fmt.Sprintf("a client could connect after %d of %d starts (%s)", r.connected, r.starts, r.why)
	}
	return Pass, fmt.Sprintf("a client could connect after %d of %d starts", r.connected, r.starts)
}

func judgeLeader(f *facts) (Verdict, string) {
	switch d := f.job.daemon; d.SID {
	case d.PID:
		return Fail, fmt.Sprintf("it leads session %d", d.SID)
	case f.job.info.Leader:
		return Fail, fmt.Sprintf("its session is %d, the terminal's", d.SID)
	default:
		return Pass, fmt.Sprintf("it is process %d, in session %d", d.PID, d.SID)
	}
}

// LookUpUser finds a user by name or number.
func LookUpUser(name string) (*user.User, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if numbered, err := user.LookupId(name); err == nil {
			return numbered, nil
		}
	}
	return u, err
}

func judgeRights(f *facts) (Verdict, string) {
	u, err := LookUpUser(f.options.User)
	if err != nil {
		return Skip, err.Error()
	}
	groups, err := u.GroupIds()
	if err != nil {
		return Skip, err.Error()
	}
	d := f.job.daemon
	var wrong []string
	ids := func(name string, have proc.IDs, want string) {
		for _, id := range []struct {
			kind string
			is   int
		}{{"real", have.Real}, {"effective", have.Effective}, {"saved", have.Saved}, {"file system", have.FS}} {
			if fmt.Sprint(id.is) != want {
				wrong = append(wrong, fmt.Sprintf("its %s %s is %d", id.kind, name, id.is))
			}
		}
	}
	ids("user", d.UIDs, u.Uid)
	ids("group", d.GIDs, u.Gid)
	for _, g := range d.Groups {
		if !slices.Contains(append(groups, u.Gid), fmt.Sprint(g)) {
			wrong = append(wrong, fmt.Sprintf("it is in group %d, and %s is not", g, u.Username))
		}
	}
	if c := d.Caps; c.Inheritable|c.Permitted|c.Effective|c.Ambient != 0 {
		wrong = append(wrong, fmt.Sprintf("it has capabilities: permitted %x, effective %x, inheritable %x, ambient %x",
			c.Permitted, c.Effective, c.Inheritable, c.Ambient))
	}
	uneven := slices.DeleteFunc(slices.Clone(d.Uneven), func(key string) bool {
		return key == "CapBnd" || key == "NoNewPrivs" // the one gives no right, the other has a check
	})
	if len(uneven) > 0 {
		wrong = append(wrong, "not all of its threads have the same "+strings.Join(uneven, ", "))
	}
	if len(wrong) > 0 {
		return Fail, strings.Join(wrong, "; ")
	}
	return Pass, fmt.Sprintf("it is user %s, group %s, with no capabilities", u.Uid, u.Gid)
}

func judgeNewPrivs(f *facts) (Verdict, string) {
	if set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); err == nil && set != 0 {
		return Skip, "no_new_privs is set in its caller already, so it has to be set in the daemon"
	}
	if !f.job.daemon.NoNewPrivs {
		return Fail, "no_new_privs is not set: a set-user-ID program gives it that user's rights"
	}
	if slices.Contains(f.job.daemon.Uneven, "NoNewPrivs") {
		return Fail, "no_new_privs is not set in all of its threads: a set-user-ID program gives such a thread that user's rights"
	}
	return Pass, "no_new_privs is set"
}

func judgeEnviron(f *facts) (Verdict, string) {
	have := f.job.daemon.Environ
	if slices.Contains(have, stray) {
		return Fail, fmt.Sprintf("it was started with %s, a variable of its caller's", stray)
	}
	if f.job.daemon.EnvironOver {
		return Skip, "it has written something else where it was given its variables, a title for ps(1) perhaps"
	}
	return Pass, fmt.Sprintf("%s, a variable of its caller's, is not among the %d it was started with", stray, len(have))
}
