//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// start starts a step as the shell would, as part of our own job on the reader's
// terminal, and shows its processes in a table. A daemon that it leaves is on
// record for stop. A start that fails leaves no process, file or record.
func start(s step) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	program := filepath.Join(filepath.Dir(self), s.name)

	st, err := openStore(storePath(), true)
	if err != nil {
		return err
	}
	defer st.close()
	// From here on ^C must not end us before we have cleaned up. A second one may.
	// What our caller ignores stays ignored, for the step too: that is what
	// nohup(1) asks for.
	signals := []os.Signal{unix.SIGTERM}
	for _, sig := range []os.Signal{unix.SIGINT, unix.SIGHUP} {
		if !signal.Ignored(sig) {
			signals = append(signals, sig)
		}
	}
	ctx, again := signal.NotifyContext(context.Background(), signals...)
	defer again()
	context.AfterFunc(ctx, again)

	e, err := st.add(s)
	if err != nil {
		return err
	}
	var l launched
	if s.number() < supervised {
		l, err = launch(ctx, e.dir, program, s.arguments(e)...)
	} else {
		l, err = supervise(ctx, e, program, s.arguments(e)...)
	}
	defer func() {
		for _, p := range l.children {
			p.release()
		}
	}()
	var daemon *proc.Process
	if err == nil {
		daemon, err = l.daemon()
	}
	if err == nil {
		e.PID, e.record.Start = daemon.PID, daemon.Start
		err = e.write(0)
	}
	if ctx.Err() != nil {
		err = statusError{128 + int(unix.SIGINT), false, errors.New("interrupted")}
	}
	if err != nil {
		var left error
		// One that we end may have started another since we looked.
		for heirs := append(l.children, heirsOf(e.dir)...); len(heirs) > 0 && left == nil; heirs = heirsOf(e.dir) {
			for _, p := range heirs {
				left = errors.Join(left, p.kill())
			}
		}
		left = errors.Join(left, e.remove())
		if failed, ok := err.(statusError); ok && failed.said && left == nil {
			return failed
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w (make step%d builds it)", err, s.number())
		}
		return fmt.Errorf("start step %d: %w", s.number(), errors.Join(err, left))
	}
	return say(report(s, e, program, l, daemon))
}

// launched is what we saw of a launcher.
type launched struct {
	end      *proc.Process // the launcher when it was about to end; nil if not seen
	endErr   error         // what could not be read of it
	children []process     // what it left behind
}

// launch runs a step's program until it ends, with dir as its TMPDIR. From step 9 on
// that is when the daemon is ready.
//
// A launcher lives for some milliseconds only. To see it nevertheless, we trace
// it (ptrace(2)): the kernel then stops it when it is about to end and still has
// its files and its directory. The daemon, its child, is not traced. From step 10 on
// the daemon is its child's child, and an orphan by then. Its TMPDIR tells it.
//
// When ctx is done, the launcher is killed.
func launch(ctx context.Context, dir, program string, args ...string) (l launched, err error) {
	// All requests must come from the thread that started the launcher.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	command := func(traced bool) *exec.Cmd {
		cmd := exec.Command(program, args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), "TMPDIR="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: traced}
		return cmd
	}
	cmd := command(true)
	err = cmd.Start()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		// A container or the administrator may forbid ptrace(2).
		l.endErr = fmt.Errorf("ptrace: %w", errors.Unwrap(err))
		cmd = command(false)
		err = cmd.Start()
	}
	if err != nil {
		return l, err
	}
	pid := cmd.Process.Pid
	unhook := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer unhook()

	var status unix.WaitStatus
	for first := true; ; {
		_, err := unix.Wait4(pid, &status, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return l, fmt.Errorf("wait for the launcher, pid %d: %w", pid, err)
		}
		if !status.Stopped() {
			break
		}
		pass := 0
		switch {
		case first: // The stop after its first execve(2), which looks like a signal.
			first = false
			// EXITKILL: if we are killed, so is the launcher.
			err = unix.PtraceSetOptions(pid,
				unix.PTRACE_O_TRACEEXEC|unix.PTRACE_O_TRACEEXIT|unix.PTRACE_O_EXITKILL)
		case status.TrapCause() == unix.PTRACE_EVENT_EXIT:
			l.children = lastChildren(ctx, pid)
			l.end, l.endErr = proc.Read(pid)
		case status.TrapCause() == unix.PTRACE_EVENT_EXEC: // A wrapper becomes the launcher.
		default: // A signal came for it. It gets it.
			pass = int(status.StopSignal())
		}
		if err == nil {
			err = unix.PtraceCont(pid, pass)
		}
		// ESRCH: it has been killed meanwhile.
		if err != nil && !errors.Is(err, unix.ESRCH) {
			cmd.Process.Kill()
			l.endErr = fmt.Errorf("ptrace: %w", err)
		}
	}

	switch {
	case status.Signaled():
		sig := status.Signal()
		return l, statusError{128 + int(sig), false, // as a shell has it
			fmt.Errorf("%s ended the launcher", unix.SignalName(sig))}
	case status.ExitStatus() != 0:
		return l, statusError{status.ExitStatus(), true,
			fmt.Errorf("the launcher ended with status %d", status.ExitStatus())}
	case len(l.children) == 0: // They are nobody's children, or we could not see it.
		l.children = heirsOf(dir)
	}
	return l, nil
}

// lastChildren takes hold of the children of a process that stands at its end.
//
// Its other threads may be ending at this moment. The children of one that has
// gone pass to one that is left, and the list may miss them on the way. With one
// thread left, nothing moves.
func lastChildren(ctx context.Context, pid int) []process {
	var held []process
	for len(held) == 0 {
		threads, err := proc.Threads(pid)
		last := err != nil || len(threads) < 2 || ctx.Err() != nil
		children, _ := proc.Children(pid)
		for _, child := range children {
			if p, err := hold(child); err == nil {
				held = append(held, p)
			}
		}
		if last {
			break
		}
	}
	return held
}

// daemon looks at the process that the launcher left behind: an orphan by now.
func (l launched) daemon() (_ *proc.Process, err error) {
	if n := len(l.children); n != 1 {
		return nil, fmt.Errorf("the launcher left %d processes behind, not 1", n)
	}
	held := l.children[0]
	var p *proc.Process
	var ended bool
	// Before step 9 it may still be within execve(2), and have no arguments yet. That lasts
	// some microseconds, and nothing tells when it is over.
	for until := time.Now().Add(time.Second); ; time.Sleep(100 * time.Microsecond) {
		// What may not be read stays empty, and the table has a ? for it.
		p, err = proc.Read(held.pid)
		var waitErr error
		if ended, waitErr = held.wait(0); waitErr != nil {
			return nil, waitErr
		}
		if err != nil || ended || len(p.Cmdline) > 0 || time.Now().After(until) {
			break
		}
	}
	if ended || errors.Is(err, proc.ErrGone) || p.Start != held.start {
		return nil, fmt.Errorf("the daemon, pid %d, has ended at once", held.pid)
	}
	return p, nil
}

// caller returns the process that stands for the shell, and what to call it: the
// leader of our session if there is a terminal, and else our parent.
func caller() (pid int, title string) {
	if stat, err := proc.ReadStat(os.Getpid()); err == nil && stat.TTYNr != 0 && stat.SID != 0 {
		return stat.SID, "shell"
	}
	return os.Getppid(), "caller"
}

// report returns the table and what can be done next.
func report(s step, e entry, program string, l launched, daemon *proc.Process) string {
	pid, title := caller()
	shell, err := proc.Read(pid)
	if errors.Is(err, proc.ErrGone) {
		shell = nil
	}
	if shell != nil {
		title += " (" + clean(shell.Comm) + ")"
	}
	starter := "launcher (ended)"
	if s.number() >= supervised {
		starter = "service manager"
	}
	var b strings.Builder
	b.WriteString("\n" + table(s, colourful(os.Stdout),
		columnOf(title, shell), columnOf(starter, l.end), columnOf("daemon", daemon)))
	if l.end == nil {
		fmt.Fprintf(&b, "the launcher ended before it could be looked at: %v\n", l.endErr)
	}

	b.WriteString(files(s, e, colourful(os.Stdout), daemon))
	mark := " "
	if len(s.rows) > 0 {
		mark = "*"
	}
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, program); err == nil {
			program = rel
		}
	}
	n := s.number()
	fmt.Fprintf(&b, "\n%s new in step %d: %s\n\n", mark, n, s.news)
	again := ""
	if n == 8 {
		again = "make step8"
	}
	judge := fmt.Sprintf("make check PROG=%s STEP=%d", program, n)
	if n >= supervised {
		judge = fmt.Sprintf("make check PROG=%s STYLE=new", program)
	}
	for _, line := range [][2]string{
		{"try it there", strings.ReplaceAll(s.try, "PID", strconv.Itoa(daemon.PID))},
		{"start it again", again},
		{"look further", fmt.Sprintf("ls -l /proc/%d/fd", daemon.PID)},
		{"", fmt.Sprintf("ps -o pid,ppid,pgid,sid,tty,args -p %d", daemon.PID)},
		{"what made it so", fmt.Sprintf("make diff%d", n)},
		{"judge it", judge},
		{"stop it", "make stop"},
	} {
		if line[1] != "" {
			fmt.Fprintf(&b, "%-16s %s\n", line[0], line[1])
		}
	}
	return b.String()
}
