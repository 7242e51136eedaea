//go:build linux

package picture

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"daemonsteps/internal/checks"
	"daemonsteps/internal/lab"
	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// deadline is when a wait is given up. No wait is expected to come near it.
const deadline = 20 * time.Second

// heldFD is the descriptor that the caller leaves open, as a careless one does.
const heldFD = 9

// A Run says how a step is started, and what is then done to it.
type Run struct {
	Step       string            // its name
	Foreground bool              // without the launcher
	Service    bool              // by a service manager, with a socket passed to it
	Kin        bool              // nothing but who is whose parent: no umask, and no descriptors
	Args       []string          // its arguments
	Env        map[string]string // what its caller's environment has besides
	Files      map[string]string // what is in its caller's directory; a name with a / at its end is a directory
	Brief      bool              // as Scene.Brief
	look       []look            // what is looked at besides
	then       act               // what is done next, or nil
}

// A look adds to a Scene what not every lesson is about.
type look func(*looker, *Scene) error

// An act does something to a daemon, and says what came of it.
type act func(*looker) (*Then, error)

// A Lesson is the two runs that its picture compares.
type Lesson struct {
	Name          string
	Before, After Run
}

// Lessons returns the lessons in order. Each compares its step with the one before;
// the first has only its own daemon, in the foreground, to compare with.
func Lessons() (list []Lesson) {
	for i, name := range checks.Lessons {
		l := plays[name]
		l.Name, l.After.Step = name, name
		l.Before.Step, l.Before.Foreground = name, true
		if i > 0 {
			l.Before.Step, l.Before.Foreground = checks.Lessons[i-1], false
		}
		list = append(list, l)
	}
	return list
}

// Picture runs the two steps of a lesson and draws them. program returns the path
// of a step's program.
func (l Lesson) Picture(program func(step string) string) ([]byte, error) {
	before, err := Gather(l.Before, program(l.Before.Step))
	if err != nil {
		return nil, err
	}
	after, err := Gather(l.After, program(l.After.Step))
	if err != nil {
		return nil, err
	}
	return Draw(l.Name+": before and after", before, after)
}

// Gather starts a program in a lab and returns what the kernel shows of it.
func Gather(r Run, program string) (s Scene, err error) {
	l, err := lab.New(lab.Options{})
	if err != nil {
		return s, fmt.Errorf("look at %s: %w", r.Step, err)
	}
	defer func() {
		if err = errors.Join(err, l.Close()); err != nil {
			err = fmt.Errorf("look at %s: %w", r.Step, err)
		}
	}()
	s.Brief = r.Brief
	s.Command = r.command()
	k := &looker{lab: l, kin: r.Kin, here: filepath.Join(l.Place(), "here"), held: filepath.Join(l.Place(), "held-open-by-the-caller")}
	k.command = lab.Command{Way: lab.Job, Args: append([]string{program}, r.Args...), Dir: k.here, Env: r.Env,
		Hold: map[int]string{heldFD: k.held}}
	if !slices.Contains(r.Args, "-config") {
		// No tick comes while we look. A configuration says so itself.
		k.command.Args = append(k.command.Args, "-every", "1h")
	}
	if r.Foreground {
		k.command.Args = append(k.command.Args, "-foreground")
	}
	if err := errors.Join(os.WriteFile(k.held, nil, 0o600), k.makeFiles(r.Files)); err != nil {
		return s, err
	}
	if k.opened, err = watch(filepath.Join(k.here, "conf"), unix.IN_OPEN|unix.IN_CLOSE); err != nil {
		return s, err
	}
	defer k.opened.Close()
	if r.Service {
		k.command.Way, k.command.Dir, k.command.Hold, k.command.Activate = lab.Service, "/", nil, true
		if k.passed, err = l.Listen("unix"); err != nil {
			return s, err
		}
	}
	session, err := l.Start(k.command)
	if err != nil {
		return s, err
	}
	k.info = session.Info
	switch {
	case r.Service:
		if _, err := session.WaitNotice(0, "READY=1", deadline); err != nil {
			return s, err
		}
	case !r.Foreground:
		exit, err := session.Wait(deadline)
		if err != nil {
			return s, err
		}
		if !exit.OK() {
			return s, fmt.Errorf("the launcher ended with %v", exit)
		}
		if k.answered, err = k.answerer(); err != nil {
			return s, fmt.Errorf("ask the daemon: %w", err)
		}
	}
	live, err := l.Rest(deadline)
	if err != nil {
		return s, err
	}
	if len(live) != 1 {
		return s, fmt.Errorf("%d processes are left, not one daemon", len(live))
	}
	k.pid = live[0]
	if err := k.at(&s); err != nil {
		return s, err
	}
	for _, look := range r.look {
		if err := look(k, &s); err != nil {
			return s, err
		}
	}
	if r.then != nil {
		s.Then, err = r.then(k)
	}
	return s, err
}

// makeFiles makes the caller's directory and what is in it. Modes are given: our umask
// may be any.
func (k *looker) makeFiles(files map[string]string) (err error) {
	mkdir := func(path string) error { return errors.Join(os.Mkdir(path, 0o755), os.Chmod(path, 0o755)) }
	err = mkdir(k.here)
	for name, text := range files {
		path := filepath.Join(k.here, name)
		if strings.HasSuffix(name, "/") {
			err = errors.Join(err, mkdir(path))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(text), 0o644))
		}
	}
	return err
}

// command is what one types, without what is there only to be looked at.
func (r Run) command() (lines []string) {
	for _, name := range []string{"DAEMONSTEPS_TEXT", "API_TOKEN"} {
		if value, ok := r.Env[name]; ok {
			lines = append(lines, name+"="+value)
		}
	}
	last := r.Step
	if r.Foreground {
		last += " -foreground"
	}
	lines = append(lines, last)
	if len(r.Args) > 0 {
		lines = append(lines, strings.Join(r.Args, " "))
	}
	return lines
}

// A looker turns what the kernel says into roles.
type looker struct {
	lab      *lab.Lab
	command  lab.Command
	info     lab.SessionInfo
	here     string // the caller's directory
	held     string // what the caller has left open
	pid      int    // the daemon's
	leader   int    // the pid of a process that led the daemon's session, and has ended; or 0
	kin      bool   // as Run.Kin
	passed   string // the address of the socket that a service is passed, or ""
	answered int    // the pid of who answered on the socket when the launcher had ended; or 0
	opened   *watcher
}

// role returns the role of a process, or "" if it has none.
func (k *looker) role(pid int) string {
	switch pid {
	case k.pid: // It comes first: in the foreground it is what the shell started.
		return Daemon
	case k.info.Leader:
		return Shell
	case k.info.Launcher:
		return Launcher
	case k.lab.Guardian():
		if k.command.Way == lab.Service {
			return Manager
		}
		return Subreaper
	case k.leader:
		return Leader
	}
	return ""
}

// group returns the name of a process group.
func (k *looker) group(pgid int) string {
	if pgid == k.info.Launcher && k.command.Way != lab.Service {
		return Job
	}
	return k.role(pgid)
}

func (k *looker) at(s *Scene) error {
	s.Terminal, _, _ = strings.Cut(k.info.TTY, "/")
	shell, err := k.lab.Stat(k.info.Leader)
	if err != nil {
		return fmt.Errorf("look at the shell: %w", err)
	}
	d, err := k.lab.State(k.pid)
	if err != nil {
		return fmt.Errorf("look at the daemon: %w", err)
	}
	if k.role(d.SID) == "" {
		if err := k.findLeader(d.SID); err != nil {
			return err
		}
	}
	place := func(st proc.Stat) Process {
		return Process{Role: k.role(st.PID), Parent: k.role(st.PPID), Session: k.role(st.SID),
			Group: k.group(st.PGID), Terminal: st.TTY != "" && st.TTY == k.info.TTY}
	}
	daemon := place(d.Stat)
	if daemon.Parent == "" || daemon.Session == "" || daemon.Group == "" {
		return fmt.Errorf("the daemon (pid %d) has parent %d, group %d, session %d: one of them has no place in the picture",
			d.PID, d.PPID, d.PGID, d.SID)
	}
	if d.TTY != "" && !daemon.Terminal {
		return fmt.Errorf("the daemon's terminal is %s, and %s is the one it was started on", d.TTY, k.info.TTY)
	}
	if daemon.Parent == Subreaper || daemon.Parent == Manager {
		s.Processes = append(s.Processes, Process{Role: daemon.Parent})
	}
	if k.command.Way == lab.Service {
		return k.daemon(s, d, daemon)
	}
	sh := place(shell)
	// Not in the picture: it is the lab that started this shell.
	sh.Parent = ""
	sh.Note = Waits
	s.Processes = append(s.Processes, sh)
	if k.pid != k.info.Launcher {
		s.Processes[len(s.Processes)-1].Note = Prompt
		// It has ended, and its shell has waited for it: the kernel knows nothing of it
		// any more. But it is lab.Job's promise where it was.
		s.Processes = append(s.Processes, Process{Role: Launcher, Ended: true,
			Parent: Shell, Session: sh.Session, Group: Job, Terminal: sh.Terminal})
	}
	if k.leader != 0 {
		s.Processes = append(s.Processes, Process{Role: Leader, Ended: true,
			Parent: Launcher, Session: Leader, Group: Leader, Terminal: d.TTY != ""})
	}
	return k.daemon(s, d, daemon)
}

// daemon adds the daemon itself, with what it has open.
func (k *looker) daemon(s *Scene, d *proc.Process, daemon Process) error {
	if !k.kin {
		daemon.Umask = d.Umask.String()
	}
	switch d.Cwd {
	case k.here:
		daemon.Cwd = "caller's dir"
	case "/":
		daemon.Cwd = d.Cwd
	default:
		return fmt.Errorf("the daemon's working directory is %s, which has no place in the picture", d.Cwd)
	}
	for _, fd := range d.FDs {
		if k.passed != "" && fd.Kind == "socket" && proc.BoundTo(fd.Ino) == k.passed {
			daemon.Facts = append(daemon.Facts, "gets a socket")
		}
		if fd.Kind == "anon" || k.kin {
			continue // The Go runtime's own: it waits for events by it.
		}
		target, own := k.target(fd)
		if target == "" {
			return fmt.Errorf("the daemon's descriptor %d leads to %s, which has no place in the picture", fd.FD, fd.Target)
		}
		n := strconv.Itoa(fd.FD)
		if own {
			n = ""
		}
		daemon.Descriptors = append(daemon.Descriptors, Descriptor{n, target})
	}
	// The runtime decides which numbers are free for those without one.
	slices.SortFunc(daemon.Descriptors, func(a, b Descriptor) int {
		return cmp.Or(strings.Compare(orLast(a.Number), orLast(b.Number)), strings.Compare(a.Target, b.Target))
	})
	s.Processes = append(s.Processes, daemon)

	s.Dirs = map[string]*Dir{}
	if k.kin {
		return nil
	}
	if own, err := k.own(); err != nil {
		return err
	} else if own != nil {
		s.Dirs[Directory] = own
	}
	for _, d := range daemon.Descriptors {
		path := filepath.Join(k.here, d.Target)
		if info, err := os.Stat(path); err == nil && info.IsDir() && d.Number == "" && d.Target != Directory {
			if s.Dirs[d.Target], err = k.dir(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// findLeader makes a process that led the daemon's session, and has ended, the leader.
func (k *looker) findLeader(sid int) error {
	if _, err := k.lab.State(sid); !errors.Is(err, proc.ErrGone) {
		return fmt.Errorf("the daemon's session is led by process %d, which has no place in the picture (%v)", sid, err)
	}
	// Its parent has waited for it. Had that not been the launcher, the lab would have got
	// it, and the lab waits for nobody as long as we look.
	ended, err := k.lab.Ended()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(ended, func(o lab.Orphan) bool { return o.PID == sid }) {
		return fmt.Errorf("the daemon's session was led by process %d, which was an orphan", sid)
	}
	k.leader = sid
	return nil
}

// target returns what a descriptor leads to, and whether the process opened it itself;
// or "" if that has no place in the picture.
func (k *looker) target(fd proc.FD) (target string, own bool) {
	path := fd.Target
	if fd.Kind == "socket" {
		path = proc.BoundTo(fd.Ino)
	}
	inside := func(dir string) (string, bool) {
		rel, err := filepath.Rel(dir, path)
		return rel, err == nil && filepath.IsLocal(rel)
	}
	switch {
	case fd.Target == "/dev/"+k.info.TTY:
		return Terminal, false
	case fd.Target == Null:
		return Null, false
	case fd.Target == k.held:
		return Held, false
	case fd.Target == k.info.TmpDir:
		return TmpDir, true
	}
	if _, ok := inside(k.info.TmpDir); ok {
		return Directory, true
	}
	if rel, ok := inside(k.here); ok {
		first, _, _ := strings.Cut(rel, "/")
		return first, true
	}
	return "", false
}

func orLast(number string) string {
	if number == "" {
		return "~"
	}
	return number
}

// own returns the directory that the daemon has made, or nil if there is none.
func (k *looker) own() (*Dir, error) {
	path, err := k.ownPath()
	if path == "" || err != nil {
		return nil, err
	}
	return k.dir(path)
}

// ownPath is the path of that directory, or "".
func (k *looker) ownPath() (string, error) {
	made, err := os.ReadDir(k.info.TmpDir)
	if err != nil || len(made) == 0 {
		return "", err
	}
	if len(made) > 1 || !made[0].IsDir() {
		return "", fmt.Errorf("the daemon has made %v, not one directory", made)
	}
	return filepath.Join(k.info.TmpDir, made[0].Name()), nil
}

// dir returns what is in a directory.
func (k *looker) dir(path string) (*Dir, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	files, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	d := &Dir{Mode: proc.Mode(info.Mode().Perm()).String()}
	for _, f := range files {
		file := File{Name: f.Name()}
		switch {
		case f.Type() == os.ModeSocket:
			file.Note = "socket"
		case f.Type().IsRegular() && k.locks(filepath.Join(path, f.Name())):
			file.Note = "locked"
		}
		d.Files = append(d.Files, file)
	}
	return d, nil
}

// locks says whether the daemon has a lock on a file (F_GETLK, fcntl(2)).
func (k *looker) locks(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	return unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock) == nil && lock.Type != unix.F_UNLCK && int(lock.Pid) == k.pid
}
