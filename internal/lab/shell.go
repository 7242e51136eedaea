//go:build linux

package lab

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A shellEvent is what the shell tells the guardian: first that it has started
// the command, or why not, then that the command has ended.
type shellEvent struct {
	PID    int    // of the command
	Error  string // why it could not be started
	Status uint32 // how it ended, in the form of wait(2)
}

// shellMain leads the session of a terminal, and runs one command on it, in the
// surroundings that the guardian describes. Then it stays, as a shell does,
// until the terminal hangs up or the guardian is gone.
func shellMain() int {
	// Like any shell it is not ended by what is meant for its job, except that it
	// goes when its terminal does.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, handled...)
	go func() {
		for s := range signals {
			if s == syscall.SIGHUP {
				os.Exit(128 + int(syscall.SIGHUP))
			}
		}
	}()
	conn, err := inheritedSocket()
	if err != nil {
		return 1
	}
	var c Command
	if err := json.NewDecoder(conn).Decode(&c); err != nil {
		return 1
	}
	events := json.NewEncoder(conn)
	p, err := startCommand(c)
	for _, s := range c.Ignore {
		signal.Notify(signals, s) // That was for the command, not for us.
	}
	if err != nil {
		events.Encode(shellEvent{Error: err.Error()})
		return 1
	}
	events.Encode(shellEvent{PID: p.Pid})
	state, err := p.Wait()
	if err != nil {
		return 1
	}
	if c.Way == Job {
		takeTerminal()
	}
	events.Encode(shellEvent{PID: p.Pid, Status: uint32(state.Sys().(syscall.WaitStatus))})
	conn.Read(make([]byte, 1)) // returns when the guardian closes it
	return 0
}

func startCommand(c Command) (*os.Process, error) {
	if err := closeOnExec(); err != nil {
		return nil, err
	}
	out := []*os.File{os.NewFile(4, "stdout"), os.NewFile(5, "stderr")}
	list, closeHeld, err := files(os.Stdin, out, c.Hold)
	defer closeHeld()
	if err != nil {
		return nil, err
	}
	defer out[0].Close()
	defer out[1].Close()
	syscall.Umask(c.Umask)
	for _, s := range c.Ignore {
		signal.Ignore(s)
	}
	attr := &syscall.SysProcAttr{}
	if c.Way == Job {
		attr.Setpgid, attr.Foreground, attr.Ctty = true, true, 0
	}
	return startBlocked(c.Block, c.Args[0], c.Args, &os.ProcAttr{Dir: c.Dir, Files: list, Sys: attr})
}

// startBlocked starts a program with these signals blocked, and no others.
func startBlocked(list []syscall.Signal, path string, args []string, attr *os.ProcAttr) (*os.Process, error) {
	runtime.LockOSThread() // A child gets the mask of the thread that starts it.
	defer runtime.UnlockOSThread()
	mask := signalSet(list)
	var old unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &mask, &old); err != nil {
		return nil, fmt.Errorf("block signals: %w", err)
	}
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	return os.StartProcess(path, args, attr)
}

// takeTerminal makes the shell's process group the foreground one again.
func takeTerminal() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A background process that asks for this is stopped by SIGTTOU, if it does
	// not block it (tcsetpgrp(3)).
	ttou := signalSet([]syscall.Signal{syscall.SIGTTOU})
	var old unix.Sigset_t
	unix.PthreadSigmask(unix.SIG_BLOCK, &ttou, &old)
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, unix.Getpgrp())
}

func signalSet(list []syscall.Signal) (set unix.Sigset_t) {
	const bits = 8 * int(unsafe.Sizeof(set.Val[0]))
	for _, s := range list {
		set.Val[(int(s)-1)/bits] |= 1 << ((int(s) - 1) % bits)
	}
	return set
}
