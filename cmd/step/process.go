//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// process is a hold on one process. Its number may go to another process once
// it has ended. The pidfd never leads to another (pidfd_open(2)).
type process struct {
	pid   int
	start uint64 // its start time: field 22 of proc_pid_stat(5)
	pidfd int
}

// hold takes hold of the process pid. The error is proc.ErrGone if there is none.
func hold(pid int) (process, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return process{}, fmt.Errorf("pid %d: %w", pid, proc.ErrGone)
	}
	if err != nil {
		return process{}, fmt.Errorf("open a pidfd for pid %d: %w", pid, err)
	}
	// Only after the pidfd: now a start time that is the expected one shows
	// that the pidfd leads to the expected process.
	stat, err := proc.ReadStat(pid)
	if err != nil {
		unix.Close(pidfd)
		return process{}, err
	}
	return process{pid, stat.Start, pidfd}, nil
}

func (p process) release() { unix.Close(p.pidfd) }

// signal sends a signal. A process that has ended is no error.
func (p process) signal(sig unix.Signal) error {
	err := unix.PidfdSendSignal(p.pidfd, sig, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("send %s to pid %d: %w", unix.SignalName(sig), p.pid, err)
	}
	return nil
}

// wait waits until the process has ended, but not longer than d, and reports
// whether it has.
func (p process) wait(d time.Duration) (ended bool, err error) {
	deadline := time.Now().Add(d)
	for {
		// A pidfd can be read from once its process has ended.
		poll := []unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
		left := max(0, time.Until(deadline))
		n, err := unix.Poll(poll, int((left+time.Millisecond-1)/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("wait for pid %d: %w", p.pid, err)
		}
		return n > 0, nil
	}
}

// kill ends the process with SIGKILL, and waits until it has ended.
func (p process) kill() error {
	if err := p.signal(unix.SIGKILL); err != nil {
		return err
	}
	ended, err := p.wait(grace)
	if err == nil && !ended {
		err = fmt.Errorf("pid %d has not ended %v after SIGKILL", p.pid, grace)
	}
	return err
}

// heirsOf takes hold of all processes that were started with dir, or a directory
// below it, as their TMPDIR. Nobody else has dir, so they are a step's launcher,
// its daemon, and what these started. Another environment hides a process.
func heirsOf(dir string) []process {
	var found []process
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range all {
		pid, err := strconv.Atoi(filepath.Base(path))
		if err != nil {
			continue
		}
		p, err := hold(pid)
		if err != nil {
			continue
		}
		text := environ(path)
		if bytes.Contains(text, []byte("\x00TMPDIR="+dir+"\x00")) ||
			bytes.Contains(text, []byte("\x00TMPDIR="+dir+"/")) {
			found = append(found, p)
		} else {
			p.release()
		}
	}
	return found
}

// holder returns the pid of the process that has a record lock on a file (F_GETLK,
// fcntl(2)), or 0.
func holder(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock) != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	return int(lock.Pid)
}

// environ returns the environment of a process, each variable between two NUL
// bytes, or nothing if it may not be read. That process is not ours then.
//
// In the middle of an execve(2) a process has no environment and no arguments
// yet, but has its new program. That is over soon, unless the file cannot be
// read: then the process counts as one without an environment.
func environ(path string) []byte {
	deadline := time.Now().Add(time.Second)
	for {
		text, err := os.ReadFile(filepath.Join(path, "environ"))
		args, _ := os.ReadFile(filepath.Join(path, "cmdline"))
		// A zombie and a kernel thread have no program.
		_, noProgram := os.Readlink(filepath.Join(path, "exe"))
		if len(text) == 0 && err == nil && len(args) > 0 {
			// Is there none, or is the execve(2) done since we looked?
			text, err = os.ReadFile(filepath.Join(path, "environ"))
		}
		if len(text) > 0 || err != nil || len(args) > 0 || noProgram != nil || time.Now().After(deadline) {
			return append([]byte{0}, text...)
		}
		runtime.Gosched()
	}
}
