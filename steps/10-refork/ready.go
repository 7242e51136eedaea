package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Until the daemon is ready, a pipe joins it to its launcher. It writes an empty line
// when it accepts work, or else the reason why it never will; then it closes the pipe.
// It knows the pipe by -ready N. Other supervisors have the same, s6 for one.

// startReady starts the daemon with such a pipe, and returns our end.
func startReady(daemon *exec.Cmd) (*os.File, error) {
	ours, its, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer its.Close() // Ours alone would keep the pipe from coming to its end.
	daemon.ExtraFiles = []*os.File{its}
	daemon.Args = append(daemon.Args, "-ready", "3") // ExtraFiles begin with 3.
	err = daemon.Start()
	// A ^C while we wait ends us. The daemon notices that when it is ready.
	signal.Reset(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	return ours, err
}

// awaitReady waits until the daemon is ready, at most for a time. It takes nothing but
// the empty line for that: the pipe's end alone comes of a daemon that was killed, too.
func awaitReady(pipe *os.File, wait time.Duration) error {
	pipe.SetReadDeadline(time.Now().Add(wait))
	text, err := io.ReadAll(pipe)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("start the daemon: it was not ready after %v", wait)
	case err == nil && string(text) != "\n":
		return errors.New(string(text))
	}
	return err
}

// A startError says why a daemon did not get ready, and how it ended.
type startError struct {
	error
	daemon *os.ProcessState
}

func (e startError) Error() string {
	if text := e.error.Error(); text != "" {
		return text
	}
	return fmt.Sprintf("start the daemon: it ended before it was ready: %v", e.daemon)
}

// exitStatus is the status to end with. That of a daemon that did not get ready is its
// own, if it has one.
func exitStatus(err error) int {
	if e, ok := err.(startError); ok {
		return max(1, e.daemon.ExitCode())
	}
	return 1
}

// dropPIDFile removes the PID file of a daemon that had to be killed.
func dropPIDFile(c config) {
	p, err := openPIDFile(string(c.pid), 0)
	if err == nil && unix.FcntlFlock(p.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}) == nil {
		p.release()
	}
}

// launcher leads to whoever waits until we are ready; it is nil if nobody does.
var launcher *os.File

// connect opens descriptor fd as launcher. The text of a panic goes there, too.
func connect(fd int) {
	if fd > 0 {
		syscall.CloseOnExec(fd) // What we start must not keep the pipe open.
		launcher = os.NewFile(uintptr(fd), "launcher")
		debug.SetCrashOutput(launcher, debug.CrashOptions{})
	}
}

// sayReady says that we are ready. If the launcher has gone nobody knows of us, and
// that is an error.
func sayReady() error {
	if launcher == nil {
		return nil
	}
	if _, err := launcher.WriteString("\n"); err != nil {
		return fmt.Errorf("say that the daemon is ready: %w", err)
	}
	launcher.Close()
	launcher = nil
	// Nothing may fail from here on. The text of a panic goes to the log again, and what
	// sends it there lets go of its copy of the pipe.
	debug.SetCrashOutput(nil, debug.CrashOptions{})
	if log.name != "" {
		debug.SetCrashOutput(log.file, debug.CrashOptions{})
	}
	return nil
}

// sayWhy tells the launcher why we failed, if it still waits for us.
func sayWhy(err error) { launcher.WriteString(err.Error()) }
