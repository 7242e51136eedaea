package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Until the daemon is ready, a pipe joins it to its launcher. It writes an empty line
// when it accepts work, or else the reason why it never will; then it closes the pipe.
// It knows the pipe by -ready N. Other supervisors have the same, s6 for one.

// While the launcher waits it hears the daemon, and the signals that ask it to end itself:
// a ^C does not reach another session. One that is ignored, as by nohup(1), stays so.
var (
	said   *os.File // our end of the pipe
	asked  = make(chan os.Signal, 1)
	asking = slices.DeleteFunc([]os.Signal{os.Interrupt, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP}, signal.Ignored)
)

// startReady starts the daemon with such a pipe.
func startReady(daemon *exec.Cmd) (err error) {
	var its *os.File
	if said, its, err = os.Pipe(); err != nil {
		return err
	}
	defer its.Close() // Ours alone would keep the pipe from coming to its end.
	daemon.ExtraFiles = []*os.File{its}
	daemon.Args = append(daemon.Args, "-ready", "3") // ExtraFiles begin with 3.
	signal.Notify(asked, asking...)
	return daemon.Start()
}

// awaitReady waits until the daemon is ready, at most for a time. It takes nothing but
// the empty line for that: the pipe's end alone comes of a daemon that was killed, too.
func awaitReady(wait time.Duration) error {
	defer said.Close() // A daemon that gets ready after all notices that we have gone.
	all := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(said, maxFile))
		io.Copy(io.Discard, said) // whatever is too much
		all <- string(text)
	}()
	select {
	case text := <-all:
		if text != "\n" {
			return errors.New(text)
		}
		return nil
	case s := <-asked:
		return fmt.Errorf("start the daemon: %v before it was ready", s)
	case <-time.After(wait):
		return fmt.Errorf("start the daemon: it was not ready after %v", wait)
	}
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
	return fmt.Sprintf("start the daemon: process %d did not get ready: %v", e.daemon.Pid(), e.daemon)
}

// startFailed is what there is to return when the daemon has ended, and its directory is
// gone. One that was killed has left its pid in the PID file. In any other case we must
// not lock the file: who else starts just now would take us for the daemon.
func startFailed(err error, c config, daemon *os.ProcessState) error {
	var named int
	f, _ := openPIDFile(c, 0)
	fmt.Fscan(f, &named) // or nothing, if there is no file
	if named == daemon.Pid() && unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}) == nil {
		f.Truncate(0) // It is nobody else's.
	}
	return startError{err, daemon}
}

// launcher leads to whoever waits until we are ready; it is nil if nobody does. reasons
// is the same, if our standard error is /dev/null, where nobody reads why we failed.
var launcher, reasons *os.File

// late ends us if we do not get ready, and whoever waited has been killed.
var late *time.Timer

// connect opens descriptor fd as launcher. It has to be one that we were given. What
// we have opened ourselves has the close-on-exec mark (fcntl(2)).
func connect(fd int, wait time.Duration) error {
	if fd == 0 {
		return nil
	}
	mark, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if fd < 3 || err != nil || mark != 0 {
		return fmt.Errorf("-ready %d: we were not given that descriptor, or it is below 3", fd)
	}
	syscall.CloseOnExec(fd) // What we start must not keep the pipe open.
	launcher = os.NewFile(uintptr(fd), "launcher")
	late = time.AfterFunc(wait+grace, func() { os.Exit(1) })
	null, err := os.Stat(os.DevNull)
	if here, err2 := os.Stderr.Stat(); err == nil && err2 == nil && os.SameFile(null, here) {
		reasons = launcher
		debug.SetCrashOutput(reasons, debug.CrashOptions{}) // the text of a panic
	}
	return nil
}

// sayReady says that we are ready. If the launcher has gone nobody knows of us, and
// that is an error. All that can fail comes before the line is written.
func sayReady() error {
	if launcher == nil {
		return nil
	}
	late.Stop()
	// The text of a panic goes to the log again, and the copy of the pipe that it had
	// goes. To open the log anew could fail by now.
	debug.SetCrashOutput(nil, debug.CrashOptions{})
	if log.name != "" {
		debug.SetCrashOutput(log.file, debug.CrashOptions{})
	}
	if _, err := launcher.WriteString("\n"); err != nil {
		return fmt.Errorf("say that the daemon is ready: %w", err)
	}
	launcher.Close()
	launcher, reasons = nil, nil
	return nil
}

// tell says why we failed to the launcher, if it still waits for us, and returns the
// status to end with. That of a daemon that did not get ready is its own, if it has one.
func tell(err error) (status int) {
	reasons.WriteString(err.Error())
	if e, ok := err.(startError); ok {
		return max(1, e.daemon.ExitCode())
	}
	return 1
}
