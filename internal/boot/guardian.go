//go:build linux

package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// A System has a guardian, as a Lab has: a process of its own that is the parent of
// each PID 1, and that takes everything away when its connection closes, for whatever
// reason. What it holds is a PID 1, whose end is the end of all processes and mounts
// below it (pid_namespaces(7)), a cgroup, and a directory.

// An order is what the System wants of its guardian: a boot.
type order struct {
	BootID string
}

// An event is what the guardian tells: how it went, or that PID 1 has ended.
type event struct {
	PID     int // of PID 1, as we see it
	Error   string
	Refused bool // Error says that we may not make namespaces.
	Ended   bool
	Status  syscall.WaitStatus // of PID 1 when it has ended
}

func guardianMain() int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	syscall.CloseOnExec(3)
	if err := syscall.SetNonblock(3, true); err != nil {
		return 1
	}
	conn := os.NewFile(3, "socket")
	dir, cgroup := os.Args[1], os.Args[2]
	orders := make(chan order)
	go func() {
		defer close(orders)
		for in := json.NewDecoder(conn); ; {
			var o order
			if in.Decode(&o) != nil {
				return
			}
			orders <- o
		}
	}()
	// PID 1 gets SIGKILL when the thread ends that has started it (PR_SET_PDEATHSIG,
	// prctl(2)). This one stays as long as we do.
	runtime.LockOSThread()
	out := json.NewEncoder(conn)
	var init *exec.Cmd
	ended := make(chan syscall.WaitStatus)
	for {
		select {
		case o, more := <-orders:
			if !more {
				return clean(init, ended, dir, cgroup)
			}
			cmd, err := startInit(dir, cgroup, o)
			if err != nil {
				refused := errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSYS)
				out.Encode(event{Error: err.Error(), Refused: refused})
				continue
			}
			init = cmd
			out.Encode(event{PID: init.Process.Pid})
			go func() {
				cmd.Wait()
				ended <- cmd.ProcessState.Sys().(syscall.WaitStatus)
			}()
		case status := <-ended:
			init = nil
			out.Encode(event{Ended: true, Status: status})
		case <-signals:
			return clean(init, ended, dir, cgroup)
		}
	}
}

// startInit starts what will be PID 1, in namespaces and a cgroup of its own.
func startInit(dir, cgroup string, o order) (*exec.Cmd, error) {
	group, err := os.Open(cgroup)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	console, err := os.OpenFile(filepath.Join(dir, "console"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer console.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{initName, dir, o.BootID}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Pdeathsig: syscall.SIGKILL, UseCgroupFD: true, CgroupFD: int(group.Fd()),
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET,
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start PID 1: %w", err)
	}
	return cmd, nil
}

// clean takes everything away.
func clean(init *exec.Cmd, ended chan syscall.WaitStatus, dir, cgroup string) int {
	if init != nil {
		init.Process.Kill()
		<-ended
	}
	if err := errors.Join(removeCgroup(cgroup), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, "boot guardian:", err)
		return 1
	}
	return 0
}

// removeCgroup removes a cgroup and those below it. PID 1 was reaped after all of its
// namespace's processes had ended, so none is populated any more.
func removeCgroup(dir string) error {
	var groups []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for i := len(groups) - 1; i >= 0; i-- { // those below first
		err = errors.Join(err, os.Remove(groups[i]))
	}
	return err
}
