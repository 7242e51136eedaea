//go:build linux

// Package lab starts a program as a person at a terminal would, and watches
// what becomes of it.
//
// A daemon's whole purpose is to get away from whoever started it. So each Lab
// has a guardian: a process of its own that makes itself a child subreaper
// (PR_SET_CHILD_SUBREAPER, prctl(2)). Every process that loses its parent below
// the guardian becomes the guardian's child, whatever it did with sessions and
// forks. The guardian can therefore look at it, signal it, read its wait status,
// and end it. It reaps nobody before the end, so that a pid means the same
// process for as long as the Lab lives.
//
// The guardian also outlives an interrupted Lab: when its connection closes, for
// whatever reason, it ends every process and removes every file. Since each Lab
// has its own guardian, several Labs in one process do not take each other's
// orphans.
//
// Waiting is for events: a pidfd that becomes readable, a pipe's end, or proof
// from /proc that a process has come to rest. A timeout only ends a wait that
// failed, with an error that lists the processes concerned.
//
// A program that uses this package calls Main first thing in its main function
// or TestMain, since guardian and shell are that same program, started again.
package lab

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// The names, as argument 0, under which Main is something else than the caller's
// program. They are not in the environment, where they would reach the daemon.
const (
	guardianName = "lab-guardian"
	shellName    = "lab-shell"
	stageName    = "lab-stage"
)

// Helper is the path of a program that is nothing but a call of Main: guardian and
// shell are processes of it. Without one they are processes of the running program.
var Helper string

// Main returns at once, except in a process that this package started from the
// running program's own file: there it is the guardian, the shell, or the stage that
// becomes a service, and does not return.
func Main() {
	switch os.Args[0] {
	case guardianName:
		os.Exit(guardianMain())
	case shellName:
		os.Exit(shellMain())
	case stageName:
		os.Exit(stageMain())
	}
}

// Options say what kind of Lab is wanted. The zero value is the usual one.
type Options struct {
	// Init makes the guardian process 1 of a PID namespace of its own, with a
	// mount namespace. It needs root, or a system that lets users make user
	// namespaces; New returns an error that wraps ErrNoNamespace otherwise.
	Init bool
}

// ErrNoNamespace says that this system does not let us make namespaces.
var ErrNoNamespace = errors.New("no namespaces to be had")

// ErrTimeout says that what was waited for did not come. The error's text lists
// the processes of the Lab as they were then.
var ErrTimeout = errors.New("timed out")

// A Lab is a guardian, and all that is started under it.
type Lab struct {
	*caller
	guardian  *exec.Cmd
	lastWords bytes.Buffer
	closing   sync.Once
	pid       int
	place     string
}

// New starts a Lab. Whoever calls New calls Close.
func New(o Options) (*Lab, error) {
	ours, theirs, err := SocketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	cmd := exec.Command(cmp.Or(Helper, "/proc/self/exe"))
	cmd.Args = []string{guardianName}
	l := &Lab{guardian: cmd, caller: newCaller(ours)}
	cmd.Stderr = &l.lastWords // of a crash, or of a clean-up that failed
	cmd.ExtraFiles = []*os.File{theirs}
	// In a session of its own it hears nothing of a ^C meant for us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if o.Init {
		cmd.Args = append(cmd.Args, "init")
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID | syscall.CLONE_NEWNS
		if os.Geteuid() != 0 {
			cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		}
	}
	if err := cmd.Start(); err != nil {
		ours.Close()
		if o.Init && refused(err) {
			return nil, fmt.Errorf("%w: start the guardian: %w", ErrNoNamespace, err)
		}
		return nil, fmt.Errorf("start the guardian: %w", err)
	}
	theirs.Close()
	var hello Hello
	if err := l.call("Hello", Nothing{}, &hello); err != nil {
		return nil, fmt.Errorf("start the guardian: %w", errors.Join(err, l.Close()))
	}
	if hello.Error != "" {
		err := errors.Join(errors.New(hello.Error), l.Close())
		if hello.NoNamespace {
			err = fmt.Errorf("%w: %w", ErrNoNamespace, err)
		}
		return nil, err
	}
	l.pid, l.place = hello.PID, hello.Place
	return l, nil
}

// refused says whether an error of clone(2) is one of those that mean that there
// are no namespaces for us. It knows others, such as too many processes.
func refused(err error) bool {
	for _, errno := range []error{syscall.EPERM, syscall.EACCES, syscall.ENOSPC, syscall.EINVAL, syscall.ENOSYS, syscall.EUSERS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Guardian returns the guardian's pid, as its own processes see it: it is 1 with
// Options.Init. It is the parent that an orphan of this Lab must have.
func (l *Lab) Guardian() int { return l.pid }

// Place returns the Lab's own directory, which Close removes.
func (l *Lab) Place() string { return l.place }

// Close ends every process of the Lab and removes its place, also while another
// goroutine waits for a call. It returns once the guardian is gone; an error says
// what could not be cleaned up.
func (l *Lab) Close() error {
	var err error
	l.closing.Do(func() {
		l.conn.Close() // The guardian sees the end, cleans up and ends.
		if err = l.guardian.Wait(); err != nil {
			removeAll(l.place) // in case it was killed
			err = fmt.Errorf("the guardian (pid %d): %w: %s", l.guardian.Process.Pid, err, l.lastWords.String())
		}
	})
	return err
}

// A Way is a way to start a command on a terminal.
type Way string

const (
	// Job is how an interactive shell starts a command: in a process group of
	// its own, in the foreground until it ends. Then the shell has the
	// terminal again.
	Job Way = "job"
	// Script is how a shell script does it: in the script's own process group,
	// which stays in the foreground when the command has ended.
	Script Way = "script"
	// Direct is how ssh -t host command does it: the command itself leads the
	// terminal's session. When it ends, the kernel hangs the terminal up.
	Direct Way = "direct"
	// Service is how a service manager does it: there is no terminal. The command
	// leads a session of its own, as the guardian's child, with /dev/null as standard
	// input, pipes as output and error, few variables, and a $NOTIFY_SOCKET.
	Service Way = "service"
)

// A Command is what to start, and the surroundings it is to find.
type Command struct {
	Args  []string          // Args[0] is the path of the program
	Way   Way               // Job if not given
	Pipe  bool              // standard output and error are pipes, not the terminal
	Dir   string            // the working directory; an empty directory if not given
	Env   map[string]string // added to our environment; "TMPDIR" is always the Lab's
	Umask int               // the umask, 022 if 0; for Job and Script
	Hold  map[int]string    // descriptors ≥ 3 left open for it, without close-on-exec, by path; not for Service
	// Signals that the command finds ignored, or blocked; for Job and Script.
	Ignore, Block []syscall.Signal
	// Activate has the socket of Listen passed to a Service (sd_listen_fds(3)).
	Activate bool
}

// A Session is one command on a terminal of its own, or a Service without one.
type Session struct {
	lab *Lab
	// Info is what is known of it from the start.
	Info SessionInfo
}

// SessionInfo tells the names of a session's things.
type SessionInfo struct {
	ID       int    // names the session to the guardian
	Leader   int    // pid of the session's leader: the shell, or the command itself
	Launcher int    // pid of the command
	TTY      string // the terminal, as in proc.Process.TTY
	Start    string // the empty directory in which it was started
	TmpDir   string // its TMPDIR, empty at first
	Pipes    []File // the pipes that are its standard output and error
}

// File identifies an open file: no two have the same numbers.
type File struct{ Dev, Ino uint64 }

// Start starts c on a fresh terminal, or as a Service on none.
func (l *Lab) Start(c Command) (*Session, error) {
	if c.Way == "" {
		c.Way = Job
	}
	if c.Umask == 0 {
		c.Umask = 0o022
	}
	s := &Session{lab: l}
	if err := l.call("Start", c, &s.Info); err != nil {
		return nil, err
	}
	return s, nil
}

// Exit is how a process ended: with a status, or by a signal.
type Exit struct {
	Status int            // exit status, if Signal is 0
	Signal syscall.Signal // the signal that ended it, or 0
}

func (e Exit) String() string {
	if e.Signal != 0 {
		return "killed by " + proc.SignalName(int(e.Signal))
	}
	return fmt.Sprintf("exit status %d", e.Status)
}

// OK says whether it ended by itself, with status 0.
func (e Exit) OK() bool { return e == Exit{} }

// Wait waits until the command itself, the launcher, has ended.
func (s *Session) Wait(timeout time.Duration) (Exit, error) {
	var e Exit
	return e, s.lab.call("WaitLauncher", Timed{s.Info.ID, timeout}, &e)
}

// Output returns what has come out of the command and its children so far: on
// the terminal, or, with Command.Pipe, on its standard output and error.
func (s *Session) Output() (stdout, stderr string, err error) {
	var o Output
	err = s.lab.call("Output", s.Info.ID, &o)
	return string(o.Out), string(o.Err), err
}

// PipesEnded says whether whoever reads the command's standard output and error
// has come to the end: no process has a pipe open for writing any more (pipe(7)).
func (s *Session) PipesEnded() (bool, error) {
	var ended bool
	return ended, s.lab.call("PipesEnded", s.Info.ID, &ended)
}

// Hangup closes the terminal, as closing its window does. The kernel has sent
// SIGHUP when Hangup returns.
func (s *Session) Hangup() error {
	return s.lab.call("Hangup", s.Info.ID, &Nothing{})
}

// Type types text on the terminal. "\x03" is ^C: the kernel has sent SIGINT to
// the foreground process group when Type returns.
func (s *Session) Type(text string) error {
	return s.lab.call("Type", Typed{s.Info.ID, text}, &Nothing{})
}

// Rest waits until every process of the Lab has come to rest, and returns the
// pids of those that live, the oldest first, without the Lab's own shells.
// At rest means: each thread sleeps or is stopped, no signal is on its way to
// it, and none has run for as long as it took to look at them all. What a signal
// or a start was going to do has then been done, unless a process waits for a time
// to pass, and longer than a few milliseconds: nobody can see what it will do then.
func (l *Lab) Rest(timeout time.Duration) ([]int, error) {
	var pids []int
	return pids, l.call("Rest", Timed{0, timeout}, &pids)
}

// Live is Rest without the waiting.
func (l *Lab) Live() ([]int, error) {
	var pids []int
	return pids, l.call("Live", Nothing{}, &pids)
}

// An Orphan is a process of the Lab that has ended: one that became the
// guardian's child, so neither the command nor a child that some process still
// looks after.
type Orphan struct {
	PID  int
	Exit Exit
}

// Adopted is Live for orphans alone: it does not look at what they have started.
func (l *Lab) Adopted() ([]int, error) {
	var pids []int
	return pids, l.call("Adopted", Nothing{}, &pids)
}

// Ended returns the orphans that have ended so far, the oldest first.
func (l *Lab) Ended() ([]Orphan, error) {
	var list []Orphan
	return list, l.call("Ended", Nothing{}, &list)
}

// Stat is State for what stands in /proc/PID/stat alone.
func (l *Lab) Stat(pid int) (proc.Stat, error) {
	var st proc.Stat
	return st, l.call("Stat", pid, &st)
}

// State reads a process of the Lab from /proc. What could not be read is told
// in the error, as by proc.Read; the rest is there all the same.
func (l *Lab) State(pid int) (*proc.Process, error) {
	var r StateReply
	if err := l.call("State", pid, &r); err != nil {
		return nil, err
	}
	switch {
	case r.Gone:
		return &r.Process, fmt.Errorf("%w: %s", proc.ErrGone, r.Error)
	case r.Error != "":
		return &r.Process, errors.New(r.Error)
	}
	return &r.Process, nil
}

// Signal sends a signal to a process of the Lab through a pidfd. A process that
// is not the Lab's is an error.
func (l *Lab) Signal(pid int, sig syscall.Signal) error {
	return l.call("Signal", SignalArgs{pid, sig}, &Nothing{})
}

// WaitExit waits until a process of the Lab ends, and returns how.
func (l *Lab) WaitExit(pid int, timeout time.Duration) (Exit, error) {
	var e Exit
	return e, l.call("WaitExit", Timed{pid, timeout}, &e)
}

// Clear ends every process of the Lab and closes every terminal, so that the
// next Start finds nothing of the last.
func (l *Lab) Clear() error { return l.call("Clear", Nothing{}, &Nothing{}) }

// Mount puts a file system of its own on dir: for a Lab with Options.Init.
func (l *Lab) Mount(dir string) error { return l.call("Mount", dir, &Nothing{}) }

// Unmount takes it away again. EBUSY means that some process keeps it.
func (l *Lab) Unmount(dir string) error {
	var errno syscall.Errno
	if err := l.call("Unmount", dir, &errno); err != nil {
		return err
	}
	if errno != 0 {
		return &os.PathError{Op: "umount", Path: dir, Err: errno}
	}
	return nil
}

// closeOnExec marks every descriptor from 3 upwards close-on-exec, so that what
// we inherited without the mark does not reach what we start.
func closeOnExec() error {
	if err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err == nil {
		return nil // Linux 5.11 and later
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("list the open descriptors: %w", err)
	}
	for _, e := range fds {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err == nil && fd >= 3 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}
