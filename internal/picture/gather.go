//go:build linux

package picture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"daemonsteps/internal/checks"
	"daemonsteps/internal/lab"
	"daemonsteps/internal/proc"
)

// deadline is when a wait is given up. No wait is expected to come near it.
const deadline = 20 * time.Second

// heldFD is the descriptor that the caller leaves open, as a careless one does.
const heldFD = 9

// A Run says how a step is started, and what is then done to it.
type Run struct {
	Step       string // its name
	Foreground bool   // without the launcher
	Term       bool   // the daemon gets SIGTERM at last
}

// A Lesson is the two runs that its picture compares.
type Lesson struct {
	Name          string
	Before, After Run
}

// Lessons returns the lessons in order. Each compares its step with the one before;
// the first has only its own daemon, in the foreground, to compare with.
func Lessons() (list []Lesson) {
	term, _ := checks.Find("term")
	for i, name := range checks.Lessons {
		l := Lesson{Name: name, Before: Run{Step: name, Foreground: true}, After: Run{Step: name}}
		if i > 0 {
			l.Before = Run{Step: checks.Lessons[i-1]}
		}
		l.Before.Term = i+1 == term.Lesson
		l.After.Term = l.Before.Term
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
	s.Command = r.Step
	// No tick comes while we look.
	c := lab.Command{Way: lab.Job, Args: []string{program, "-every", "1h"}}
	if r.Foreground {
		s.Command += " -foreground"
		c.Args = append(c.Args, "-foreground")
	}
	held := filepath.Join(l.Place(), "held-open-by-the-caller")
	if err := os.WriteFile(held, nil, 0o600); err != nil {
		return s, err
	}
	c.Hold = map[int]string{heldFD: held}
	session, err := l.Start(c)
	if err != nil {
		return s, err
	}
	if !r.Foreground {
		exit, err := session.Wait(deadline)
		if err != nil {
			return s, err
		}
		if !exit.OK() {
			return s, fmt.Errorf("the launcher ended with %v", exit)
		}
	}
	live, err := l.Rest(deadline)
	if err != nil {
		return s, err
	}
	if len(live) != 1 {
		return s, fmt.Errorf("%d processes are left, not one daemon", len(live))
	}
	look := looker{lab: l, info: session.Info, held: held, daemon: live[0]}
	if err := look.at(&s); err != nil {
		return s, err
	}
	if r.Term {
		s.End, err = look.end()
	}
	return s, err
}

// A looker turns what the kernel says into roles.
type looker struct {
	lab    *lab.Lab
	info   lab.SessionInfo
	held   string
	daemon int
}

// role returns the role of a process, or "" if it has none.
func (k looker) role(pid int) string {
	switch pid {
	case k.daemon: // It comes first: in the foreground it is what the shell started.
		return Daemon
	case k.info.Leader:
		return Shell
	case k.info.Launcher:
		return Launcher
	case k.lab.Guardian():
		return Subreaper
	}
	return ""
}

// group returns the name of a process group.
func (k looker) group(pgid int) string {
	if pgid == k.info.Launcher {
		return Job
	}
	return k.role(pgid)
}

func (k looker) at(s *Scene) error {
	s.Terminal, _, _ = strings.Cut(k.info.TTY, "/")
	shell, err := k.lab.Stat(k.info.Leader)
	if err != nil {
		return fmt.Errorf("look at the shell: %w", err)
	}
	d, err := k.lab.State(k.daemon)
	if err != nil {
		return fmt.Errorf("look at the daemon: %w", err)
	}
	place := func(st proc.Stat) Process {
		return Process{Role: k.role(st.PID), Parent: k.role(st.PPID), Session: k.role(st.SID),
			Group: k.group(st.PGID), Terminal: st.TTY == k.info.TTY}
	}
	daemon := place(d.Stat)
	if daemon.Parent == "" || daemon.Session == "" || daemon.Group == "" {
		return fmt.Errorf("the daemon (pid %d) has parent %d, group %d, session %d: one of them has no place in the picture",
			d.PID, d.PPID, d.PGID, d.SID)
	}
	if d.TTY != "" && !daemon.Terminal {
		return fmt.Errorf("the daemon's terminal is %s, and %s is the one it was started on", d.TTY, k.info.TTY)
	}
	if daemon.Parent == Subreaper {
		s.Processes = append(s.Processes, Process{Role: Subreaper})
	}
	sh := place(shell)
	// Not in the picture: it is the lab that started this shell.
	sh.Parent = ""
	sh.Note = Waits
	s.Processes = append(s.Processes, sh)
	if k.daemon != k.info.Launcher {
		s.Processes[len(s.Processes)-1].Note = Prompt
		// It has ended, and its shell has waited for it: the kernel knows nothing of it
		// any more. But it is lab.Job's promise where it was.
		s.Processes = append(s.Processes, Process{Role: Launcher, Ended: true,
			Parent: Shell, Session: sh.Session, Group: Job, Terminal: sh.Terminal})
	}
	if s.Own, err = k.own(); err != nil {
		return err
	}
	daemon.Umask = d.Umask.String()
	switch d.Cwd {
	case k.info.Start:
		daemon.Cwd = "caller's dir"
	case "/":
		daemon.Cwd = d.Cwd
	default:
		return fmt.Errorf("the daemon's working directory is %s, which has no place in the picture", d.Cwd)
	}
	for _, fd := range d.FDs {
		n := strconv.Itoa(fd.FD)
		inside, _ := filepath.Rel(k.info.TmpDir, fd.Target)
		switch {
		case fd.Target == "/dev/"+k.info.TTY:
			daemon.Descriptors = append(daemon.Descriptors, Descriptor{n, Terminal})
		case fd.Target == Null:
			daemon.Descriptors = append(daemon.Descriptors, Descriptor{n, Null})
		case fd.Target == k.held:
			daemon.Descriptors = append(daemon.Descriptors, Descriptor{n, Held})
		case filepath.IsLocal(inside):
			daemon.Descriptors = append(daemon.Descriptors, Descriptor{"", Directory})
		case fd.Kind == "anon":
			// The Go runtime's own: it waits for events by it.
		default:
			return fmt.Errorf("the daemon's descriptor %d leads to %s, which has no place in the picture", fd.FD, fd.Target)
		}
	}
	// The runtime decides which numbers are free for those without one.
	slices.SortStableFunc(daemon.Descriptors, func(a, b Descriptor) int {
		return strings.Compare(orLast(a.Number), orLast(b.Number))
	})
	s.Processes = append(s.Processes, daemon)
	return nil
}

func orLast(number string) string {
	if number == "" {
		return "~"
	}
	return number
}

// own returns the directory that the daemon has made, or nil if there is none.
func (k looker) own() (*Dir, error) {
	made, err := os.ReadDir(k.info.TmpDir)
	if err != nil || len(made) == 0 {
		return nil, err
	}
	if len(made) > 1 || !made[0].IsDir() {
		return nil, fmt.Errorf("the daemon has made %v, not one directory", made)
	}
	info, err := made[0].Info()
	if err != nil {
		return nil, err
	}
	files, err := os.ReadDir(filepath.Join(k.info.TmpDir, made[0].Name()))
	if err != nil {
		return nil, err
	}
	d := &Dir{Mode: proc.Mode(info.Mode().Perm()).String()}
	for _, f := range files {
		d.Files = append(d.Files, f.Name())
	}
	return d, nil
}

// end sends SIGTERM to the daemon, and says what that led to.
func (k looker) end() (*End, error) {
	if err := k.lab.Signal(k.daemon, syscall.SIGTERM); err != nil {
		return nil, err
	}
	exit, err := k.lab.WaitExit(k.daemon, deadline)
	if err != nil {
		return nil, err
	}
	live, err := k.lab.Rest(deadline)
	if err != nil {
		return nil, err
	}
	left, err := k.own()
	return &End{How: exit.String(), Left: left, Processes: len(live)}, err
}
