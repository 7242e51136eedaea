package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

const maxPrivate = 32 // bytes: more than a pid has

// openPrivate opens a small file that is our user's alone, or makes it. Nobody else but
// root may have a hand in it, nor in its directory; those above that are taken on trust.
func openPrivate(name string, create int) (*os.File, error) {
	dir, err := os.OpenFile(filepath.Dir(name), unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return nil, err
	}
	everybody := info.Mode()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0
	if uid := int(info.Sys().(*syscall.Stat_t).Uid); everybody || uid != 0 && uid != os.Geteuid() {
		return nil, fmt.Errorf("others can put another in its place: they can write in %s", dir.Name())
	}
	// The file that we have looked at is the one that we use: all by one descriptor.
	// O_NONBLOCK and O_NOCTTY are for what it should not be: a FIFO, a terminal.
	const flags = unix.O_RDWR | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Openat(int(dir.Fd()), filepath.Base(name), flags|create, 0o600)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if info, err = f.Stat(); err != nil {
		return f, err
	}
	st := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		err = errors.New("it is not a regular file")
	case int(st.Uid) != os.Geteuid():
		err = fmt.Errorf("it is user %d's", st.Uid)
	case st.Nlink > 1:
		err = errors.New("it has another name, too")
	case info.Size() > maxPrivate:
		err = fmt.Errorf("it has %d bytes, and a pid has fewer", info.Size())
	}
	return f, err
}
