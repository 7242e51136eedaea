//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockPIDFile makes this process the one that holds the PID file, with its pid in it.
// The record lock goes with the process, however that ends. The file stays: removed,
// it could be locked by one daemon, and a new one of its name by another.
func lockPIDFile(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the PID file: %w", err)
	}
	if err := unix.FcntlFlock(file.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		return nil, fmt.Errorf("lock the PID file %s: %w", name, err)
	}
	if err := os.WriteFile(name, fmt.Appendln(nil, os.Getpid()), 0o600); err != nil {
		return nil, fmt.Errorf("write the PID file: %w", err)
	}
	return file, nil
}

// checkPIDFile is for the launcher. The error says which process holds the file.
func checkPIDFile(name string) error {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the PID file: %w", err)
	}
	defer file.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_GETLK, &lock); err != nil {
		return fmt.Errorf("ask who holds the PID file %s: %w", name, err)
	}
	if lock.Type != unix.F_UNLCK {
		return fmt.Errorf("the daemon runs already, as process %d: it holds %s", lock.Pid, name)
	}
	return nil
}
