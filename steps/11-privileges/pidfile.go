package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A pidFile is locked by the daemon for as long as it lives. The pid in it is for
// people to read. Who holds the lock the kernel says, and nobody can forge that.
//
// It is a record lock (F_SETLK, fcntl(2)): F_GETLK tells its holder's pid, no child
// inherits it, and it goes with its process, however that ends. It would also go if the
// process closed the file, by any descriptor: so the daemon opens it once.
type pidFile struct {
	*os.File
	dir *os.File // Its name is looked up in here, whatever becomes of the path.
}

// lockPIDFile makes us the one that holds the file, with our pid in it. The error
// says who else does. Without a name there is nothing to do.
func lockPIDFile(c config) (p pidFile, err error) {
	if c.pid == "" {
		return p, nil
	}
	for {
		if p, err = openPIDFile(string(c.pid), os.O_CREATE); err != nil {
			return p, err
		}
		err = unix.FcntlFlock(p.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err == nil && p.inPlace() {
			break
		}
		// Not locked, or the wrong file: its last holder has removed it since we opened
		// it. If nobody holds it by now, it is worth another try.
		pid := p.holder()
		p.Close()
		if pid != 0 {
			return p, runsAlready(c.pid, pid)
		}
		if err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return p, fmt.Errorf("lock the PID file %s: %w", c.pid, err)
		}
	}
	// Empty or whole: nobody reads half a pid.
	err = p.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(p, os.Getpid())
	}
	return p, err
}

func runsAlready(name path, pid int) error {
	return fmt.Errorf("the daemon runs already, as process %d: it holds %s", pid, name)
}

// openPIDFile opens the file, if nobody but our user can have a hand in it.
func openPIDFile(name string, create int) (p pidFile, err error) {
	var dir, st unix.Stat_t
	p.dir, err = os.Open(filepath.Dir(name))
	if err == nil {
		err = unix.Fstat(int(p.dir.Fd()), &dir)
	}
	if err == nil && dir.Mode&unix.S_IWOTH != 0 && dir.Mode&unix.S_ISVTX == 0 {
		err = fmt.Errorf("everybody can rename files in %s", p.dir.Name())
	}
	if err == nil { // Private, since whoever can open a file can lock it.
		flags := create | unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
		var fd int
		fd, err = unix.Openat(int(p.dir.Fd()), filepath.Base(name), flags, 0o600)
		p.File = os.NewFile(uintptr(fd), name) // nil if it is not open
		unix.Fstat(fd, &st)
	}
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink > 1 || int(st.Uid) != os.Geteuid()) {
		err = fmt.Errorf("it is not a file of user %d's, with this name alone", os.Geteuid())
	}
	if err != nil {
		p.Close()
		return p, fmt.Errorf("open the PID file %s: %w", name, err)
	}
	return p, nil
}

// inPlace says whether the file's name still leads to it.
func (p pidFile) inPlace() bool {
	var ours, named unix.Stat_t
	unix.Fstat(int(p.Fd()), &ours)
	err := unix.Fstatat(int(p.dir.Fd()), filepath.Base(p.Name()), &named, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && ours.Dev == named.Dev && ours.Ino == named.Ino
}

func (p pidFile) Close() error { return errors.Join(p.File.Close(), p.dir.Close()) }

// holder returns the pid of the process that holds the file, 0 if none does, and -1
// if we cannot see it: it is in another PID namespace.
func (p pidFile) holder() int {
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(p.Fd(), unix.F_GETLK, &lock) != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	return cmp.Or(int(lock.Pid), -1)
}

// release removes the file. It stays locked until we end, or a second daemon could
// start while we still clean up.
func (p pidFile) release() error {
	if p.File == nil {
		return nil
	}
	err := p.Truncate(0) // In a directory of root's it stays.
	if !p.inPlace() {
		return err
	}
	if e := unix.Unlinkat(int(p.dir.Fd()), filepath.Base(p.Name()), 0); !errors.Is(e, fs.ErrPermission) {
		return e
	}
	return err
}

// checkPIDFile is for the launcher: the daemon would fail where nobody sees it.
func checkPIDFile(c config) error {
	if c.pid == "" {
		return nil
	}
	p, err := openPIDFile(string(c.pid), 0)
	defer p.Close()
	if pid := p.holder(); err == nil && pid != 0 {
		return runsAlready(c.pid, pid)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = unix.Access(filepath.Dir(string(c.pid)), unix.W_OK)
		if err != nil {
			err = fmt.Errorf("make the PID file %s: %w", c.pid, err)
		}
	}
	return err
}
