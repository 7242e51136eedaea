//go:build linux

// Package checks holds what a daemon must do as one table, and judges any program
// by it.
//
// A program is started a number of times (runs.go), each time in a fresh lab.
// What the kernel then says of it is kept as facts. A check reads the facts and
// gives a verdict with the evidence for it; it starts nothing itself.
package checks

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"daemonsteps/internal/lab"
	"daemonsteps/internal/proc"
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
}

// Doc returns the path of the lesson in this repository.
func (c Check) Doc() string { return "docs/" + Lessons[c.Lesson-1] + ".md" }

// Lessons are the names of the lessons that checks are taught in, in order.
var Lessons = []string{"01-fork", "02-setsid", "03-close-fds", "04-chdir", "05-signals",
	"06-config", "07-log", "08-pidfile", "09-ready", "10-refork", "11-privileges"}

// All are the checks, in the order of the lessons.
var All = []Check{
	{"background", "the command returns with status 0, and something lives on", 1,
		"daemon(7), SysV daemons, steps 5 and 15", needJob, judgeBackground},
	{"orphan", "it is a child of init or of the nearest subreaper", 1,
		"daemon(7), SysV daemons, step 8; PR_SET_CHILD_SUBREAPER(2const)", needJob, judgeOrphan},
	{"session", "it is not in the terminal's session", 2,
		"daemon(7), SysV daemons, step 6; setsid(2)", needJob, judgeSession},
	{"terminal", "it has no controlling terminal", 2,
		"daemon(7), SysV daemons, step 6; credentials(7), Sessions", needJob, judgeTerminal},
	{"hangup", "it survives the closing of the terminal", 2,
		"setsid(2), NOTES; signal(7), SIGHUP", needJob | needDirect, judgeHangup},
	{"interrupt", "it survives a ^C typed where it was started", 2,
		"setsid(2); termios(3), ISIG", needPipe, judgeInterrupt},
	{"stdio", "descriptors 0, 1, 2 are open, usable, and not its caller's", 3,
		"daemon(7), SysV daemons, step 9", needJob | needPipe, judgeStdio},
	{"pipe", "who reads the command's output comes to its end", 3,
		"pipe(7), I/O on pipes and FIFOs", needPipe, judgePipe},
	{"leaks", "it has no descriptor that its caller left open", 3,
		"daemon(7), SysV daemons, step 1", needJob, judgeLeaks},
	{"cwd", "it does not keep busy the file system it was started from", 4,
		"daemon(7), SysV daemons, step 11; umount(2), EBUSY", needJob, judgeCwd},
	{"umask", "its umask does not depend on its caller's", 4,
		"daemon(7), SysV daemons, step 10; umask(2)", needJob | needPipe, judgeUmask},
	{"term", "SIGTERM ends it with status 0", 5,
		"daemon(7), New-style daemons, step 1", needJob, judgeTerm},
	{"int", "SIGINT ends it with status 0", 5,
		"signal(7), SIGINT", needPipe, judgeInt},
	{"signals", "what its caller blocked or ignored changes none of that", 5,
		"daemon(7), SysV daemons, steps 2 and 3; execve(2)", needJob | needPipe | needSignals, judgeSignals},
	{"leftovers", "no process and no file of its own stays behind", 5,
		"PEP 3143, Correct daemon behaviour; signal(7), SIGTERM", needJob, judgeLeftovers},
}

// Find returns the check of that name.
func Find(id string) (Check, bool) {
	i := slices.IndexFunc(All, func(c Check) bool { return c.ID == id })
	if i < 0 {
		return Check{}, false
	}
	return All[i], true
}

// name shows a process to a reader.
func name(p *proc.Process) string { return fmt.Sprintf("process %d (%s)", p.PID, p.Comm) }

func judgeBackground(f *facts) (Verdict, string) {
	j := f.job
	switch {
	case j.never:
		return Fail, fmt.Sprintf("the command had not ended after %v: does it run in the foreground? "+
			"Under an init that is right; a daemon of the old style goes on without its caller", f.timeout)
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
