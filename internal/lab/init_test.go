//go:build linux

package lab

import (
	"errors"
	"os"
	"path/filepath"
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
	s = start(t, l, Command{Args: sh("cd /; exec sleep 1000"), Dir: dir})
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
