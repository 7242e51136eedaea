//go:build linux

package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestInit(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{Init: true})
	want(t, "guardian", l.Guardian(), 1)
	for _, way := range ways {
		s := start(t, l, Command{Args: children("session"), Way: way})
		want(t, "exit", wait(t, s), Exit{})
		pid := pidsIn(t, s)[0]
		wantList(t, "live", rest(t, l), []int{pid})
		p, err := l.State(pid)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "parent", p.PPID, 1)
		want(t, "session", p.SID, pid)
		want(t, "terminal", p.TTY, "")
		want(t, "terminal", p.FDs[0].Target, "/dev/"+s.Info.TTY)
		signal1(t, l, pid, term)
		want(t, "exit", waitExit(t, l, pid), Exit{Signal: term})
		if err := s.Hangup(); err != nil {
			t.Fatal(err)
		}
	}
	wantError(t, "signal to process 1", l.Signal(1, term), "process 1 is not one of this lab")
	ended, err := l.Ended()
	if err != nil || len(ended) != 3 {
		t.Errorf("ended: %v, %v", ended, err)
	}
}

func TestMount(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{Init: true})
	dir := filepath.Join(l.Place(), "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	wantError(t, "unmount", l.Unmount(dir), "umount "+dir, "invalid argument")
	if err := l.Mount(dir); err != nil {
		t.Fatal(err)
	}
	s := start(t, l, Command{Args: sleep, Dir: dir})
	if err := l.Unmount(dir); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("unmount, with a process there: %v", err)
	}
	signal1(t, l, s.Info.Launcher, term)
	want(t, "exit", wait(t, s), Exit{Signal: term})
	if err := l.Unmount(dir); err != nil {
		t.Errorf("unmount, with no process there: %v", err)
	}
	start(t, l, Command{Args: sh("cd /; exec sleep 1000"), Dir: dir})
	rest(t, l)
	if err := l.Mount(dir); err != nil {
		t.Fatal(err)
	}
	if err := l.Unmount(dir); err != nil {
		t.Errorf("unmount, with no process there: %v", err)
	}
	wantError(t, "mount on nothing", l.Mount("/no/such/dir"), "mount /no/such/dir", "no such file or directory")
	wantError(t, "unmount nothing", l.Unmount("/no/such/dir"), "umount /no/such/dir", "no such file or directory")

	// It is seen from nowhere else, and Close takes it away.
	if err := l.Mount(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "below"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, l.Place())
}

// Without Options.Init there is no mount namespace to do it in.
func TestMountWithoutInit(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	wantError(t, "mount", l.Mount(l.Place()), "Options.Init")
	wantError(t, "unmount", l.Unmount(l.Place()), "Options.Init")
}

// Where there are no namespaces, New says so.
func TestNoNamespace(t *testing.T) {
	t.Parallel()
	ours, err := os.Readlink("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	// In a user namespace of its own a process may set limits (namespaces(7)).
	script := `[ "$(readlink /proc/self/ns/user)" != "$1" ] && echo 0 >/proc/sys/user/max_pid_namespaces || exit 9; shift; exec "$@"`
	cmd := helper(t, sh(script, append([]string{ours}, role("role-lab", "new", "init")...)...))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	text, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() == 9 {
		t.Skip("no user namespace with limits of its own: ", err)
	}
	if !strings.HasPrefix(string(text), ErrNoNamespace.Error()+": ") || !strings.Contains(string(text), "no space left on device") {
		t.Errorf("%v: it says %q", err, text)
	}
	for err, refusal := range map[error]bool{syscall.EPERM: true, syscall.ENOSPC: true, syscall.EAGAIN: false, syscall.ENOMEM: false} {
		want(t, err.Error(), refused(&os.PathError{Op: "fork/exec", Path: "/proc/self/exe", Err: err}), refusal)
	}
}
