package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// The daemon locks its PID file for as long as it lives. The pid in it is for people to
// read. Who holds the lock the kernel says, and nobody can forge that.
//
// It is a record lock (F_SETLK, fcntl(2)): F_GETLK tells its holder's pid, no child
// inherits it, and it goes when its process can run no more, however it ended. It would
// also go if the process closed the file, by any descriptor: so the daemon opens it once.
//
// The file stays when the daemon ends, and is empty then. If it were removed, the next
// daemon would lock a new one, while the last still does what there is to do at its end.

// held is the daemon's. A variable leads to it for good, or Go would close it.
var held *os.File

// lockPIDFile makes us the one that holds the file, with our pid in it. The error
// says who else does. Without a name there is nothing to do.
func lockPIDFile(c config) (err error) {
	if c.pid == "" {
		return nil
	}
	for range 100 {
		if held, err = openPIDFile(c, os.O_CREATE); err != nil {
			return err
		}
		err = unix.FcntlFlock(held.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err == nil && leadsTo(c.pid, held) {
			return writePID()
		}
		// Another holds it, or it was removed after we had opened it. If nobody holds it
		// by now, it is worth another try.
		pid := holder(held)
		held.Close()
		if pid != 0 {
			return runsAlready(c, pid)
		}
	}
	return fmt.Errorf("lock the PID file %s: %w", c.pid, cmp.Or(err, errors.New("it is removed all the time")))
}

// writePID leaves the file empty or whole at any moment: nobody reads half a pid.
func writePID() error {
	// Whoever can open a file can lock it, so it is private.
	if err := errors.Join(held.Chmod(0o600), held.Truncate(0)); err != nil {
		return err
	}
	_, err := fmt.Fprintln(held, os.Getpid())
	return err
}

// releasePIDFile leaves the file to the next daemon. It stays locked until we have ended.
func releasePIDFile() error {
	if held == nil {
		return nil
	}
	return held.Truncate(0)
}

func runsAlready(c config, pid int) error {
	if pid < 0 {
		return fmt.Errorf("the daemon runs already, where we cannot see it: it holds %s", c.pid)
	}
	return fmt.Errorf("the daemon runs already, as process %d: it holds %s", pid, c.pid)
}

// openPIDFile opens the file, if it can be one.
func openPIDFile(c config, create int) (*os.File, error) {
	f, err := openPrivate(string(c.pid), create)
	if err == nil && (leadsTo(c.log, f) || leadsTo(c.file, f)) { // We close these again.
		err = errors.New("it is the log or the configuration")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open the PID file %s: %w", c.pid, err)
	}
	return f, nil
}

// leadsTo says whether a name leads to the open file.
func leadsTo(name path, f *os.File) bool {
	named, err := os.Stat(string(name))
	opened, err2 := f.Stat()
	return err == nil && err2 == nil && os.SameFile(named, opened)
}

// holder returns the pid of the process that holds the file, 0 if none does, and -1
// if we cannot see it: it is in another PID namespace, or on another computer.
func holder(f *os.File) int {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock) != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	return max(-1, cmp.Or(int(lock.Pid), -1))
}

// checkPIDFile is for the launcher: the daemon would fail where nobody sees it.
func checkPIDFile(c config) error {
	if c.pid == "" {
		return nil
	}
	f, err := openPIDFile(c, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := unix.Access(filepath.Dir(string(c.pid)), unix.W_OK); err != nil {
			return fmt.Errorf("make the PID file %s: %w", c.pid, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if pid := holder(f); pid != 0 {
		return runsAlready(c, pid)
	}
	return nil
}

// awaitLock asks until the daemon holds the PID file. In the next step it says so.
func awaitLock(c config, daemon *os.Process) error {
	for pid := 0; c.pid != "" && pid != daemon.Pid; time.Sleep(time.Millisecond) {
		if ended, _ := unix.Wait4(daemon.Pid, nil, unix.WNOHANG, nil); ended == daemon.Pid {
			daemon.Release() // Its pid may become another's.
			return cmp.Or(checkPIDFile(c), errors.New("it ended before it held the PID file"))
		}
		pid, _ = daemonOf(c)
	}
	return nil
}
