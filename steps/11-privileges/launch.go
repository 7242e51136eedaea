package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// launch starts this program again with args, as the daemon, and says its pid
// on standard output. The daemon is an orphan as soon as launch's process ends:
// the kernel then makes it a child of init, or of the nearest subreaper.
//
// A C program would call fork(2) here. Go cannot: fork copies only the thread
// that calls it, and the Go runtime needs all of its threads. So the program
// is started anew.
func launch(c config, args []string) error {
	if err := checkPIDFile(c); err != nil {
		return err
	}
	// Not os.Args[0]: whoever starts a program may call it anything.
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	// os/exec has no field for the umask. It is set here, and inherited: what
	// the daemon makes without a mode of its own is its owner's alone.
	syscall.Umask(0o077)
	child := exec.Command(self, args...)
	child.Dir = "/" // A working directory keeps its file system from unmounting.
	// Standard input, output and error stay unset. os/exec then opens /dev/null
	// for them: they are open and usable, and nobody's terminal or pipe.

	// The child is in our session, which has no terminal. We lead it (refork.go).
	// execve(2) would keep a signal ignored or blocked that our caller ignored or
	// blocked (daemon(7), SysV daemons, steps 2 and 3).
	if err := defaultSignals(); err != nil {
		return err
	}
	if err := closeInherited(); err != nil {
		return err
	}
	if err := confine(child); err != nil {
		return err
	}
	dir, err := privateDir()
	if err != nil {
		return err
	}
	// A -log among args comes later, and holds.
	child.Args = slices.Insert(child.Args, 1, "-dir", dir, "-log", filepath.Join(dir, "log"))
	if err := startReady(child); err != nil {
		os.Remove(dir)
		return fmt.Errorf("start the daemon: %w", err)
	}
	err = awaitReady(c.wait.Duration)
	if err == nil {
		err = sayPID(child.Process.Pid)
	}
	if err == nil {
		err = sayReady() // We are the leader, and the launcher waits for us.
	}
	if err != nil {
		// A failed start must not leave a daemon that nobody knows of.
		child.Process.Kill()
		child.Wait()
		os.RemoveAll(dir)
		return startFailed(err, c, child.ProcessState)
	}
	return nil
}
