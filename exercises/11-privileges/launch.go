//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// lead starts this program again, as the leader of a new session. The leader starts
// the daemon in there, and ends. Then the terminal has no way to either.
func lead(every time.Duration, tmp string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	leader := exec.Command(self, "-leader", "-every", every.String(), "-tmp", tmp)
	leader.Stdout, leader.Stderr = os.Stdout, os.Stderr
	leader.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := leader.Run(); err != nil {
		return fmt.Errorf("lead a session: %w", err)
	}
	return nil
}

// launch is what the leader does: it starts this program once more, as the daemon, and
// says its pid.
func launch(every time.Duration, tmp string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	syscall.Umask(0o077)
	if tmp, err = filepath.Abs(tmp); err != nil {
		return err
	}
	child := exec.Command(self, "-foreground", "-every", every.String(), "-tmp", tmp)
	child.Dir = "/"
	// The command line says it all: the daemon needs no variable of the caller's.
	child.Env = nil
	// What is handled here is not ignored: the child starts with the defaults.
	signal.Notify(make(chan os.Signal, 1))
	if err := unblockSignals(); err != nil {
		return err
	}
	if err := closeInherited(); err != nil {
		return err
	}
	if err := forgoPrivileges(); err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	if _, err := fmt.Printf("pid %d\n", child.Process.Pid); err != nil {
		// A failed start must not leave a daemon that nobody knows of.
		child.Process.Signal(syscall.SIGTERM)
		child.Wait()
		return fmt.Errorf("say the daemon's pid: %w", err)
	}
	return nil
}
