//go:build linux

package daemonsteps

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// TestIsdaemonInterrupted holds that isdaemon leaves nothing, whichever way it is
// ended in the middle of its work. The command that it has started holds a FIFO
// open: the end of the FIFO shows that it is gone, and with it each that it started.
func TestIsdaemonInterrupted(t *testing.T) {
	t.Parallel()
	newStyle := []string{"-style", "new", "-activate", "unix"}
	for _, c := range []struct {
		sig   syscall.Signal
		flags []string
	}{
		{syscall.SIGINT, nil}, {syscall.SIGTERM, nil}, {syscall.SIGHUP, nil}, {syscall.SIGKILL, nil},
		{syscall.SIGTERM, newStyle}, {syscall.SIGKILL, newStyle},
	} {
		sig := c.sig
		t.Run(strings.Join(append(c.flags, unix.SignalName(sig)), " "), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			fifo := filepath.Join(dir, "fifo")
			if err := unix.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			var stderr bytes.Buffer
			cmd := exec.Command("isdaemon", append(c.flags, "-timeout", "1h", "sh", "-c",
				`exec 9>"$0"; setsid -f sh -c 'trap "" TERM INT HUP; echo ready >&9; sleep 1000'; sleep 1000`, fifo)...)
			cmd.Env = append(os.Environ(), "TMPDIR="+dir)
			cmd.Stderr = &stderr
			// It is no background job of ours: those ignore SIGINT.
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			r, err := os.Open(fifo) // returns when the command opens it
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			r.SetReadDeadline(time.Now().Add(deadline))
			if _, err := io.ReadFull(r, make([]byte, len("ready\n"))); err != nil {
				t.Fatalf("wait for the command: %v", err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
				t.Errorf("the command holds the FIFO open: %q, %v", rest, err)
			}
			if sig == syscall.SIGKILL {
				if got := cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(); got != sig {
					t.Errorf("isdaemon ended with %v", cmd.ProcessState)
				}
				waitForEmpty(t, dir, fifo)
				return
			}
			want := "isdaemon: judge sh: interrupted; what was started has been ended\n"
			if cmd.ProcessState.ExitCode() != 2 || stderr.String() != want {
				t.Errorf("isdaemon ended with %v and said %q", cmd.ProcessState, stderr.String())
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "lab-*")); len(left) > 0 {
				t.Errorf("left: %q", left)
			}
		})
	}
}

// TestTestsInterrupted holds that the tests themselves end what they have started without
// a lab, and remove what they have made, when they are interrupted.
func TestTestsInterrupted(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.SetReadDeadline(time.Now().Add(deadline))
	var stderr bytes.Buffer
	tests := exec.Command(self)
	tests.Env = append(os.Environ(), interrupted+"="+program("09-ready"), "TMPDIR="+dir)
	tests.Stdout, tests.Stderr = w, &stderr
	err = tests.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		tests.Process.Kill()
		tests.Wait()
	}()
	var pid int
	if _, err := fmt.Fscanf(r, "pid %d\n", &pid); err != nil {
		t.Fatalf("wait for the daemon: %v: %s", err, &stderr)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("open process %d: %v", pid, err)
	}
	defer unix.Close(fd)
	defer unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
	daemon, err := proc.Read(pid)
	at := slices.Index(daemon.Cmdline, "-dir") + 1
	if err != nil || at == 0 {
		t.Fatalf("process %d: %q, %v", pid, daemon.Cmdline, err)
	}
	if err := tests.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	tests.Wait()
	if got := tests.ProcessState.ExitCode(); got != 1 || stderr.Len() > 0 {
		t.Errorf("the tests ended with %v and said %q", tests.ProcessState, &stderr)
	}
	// It has waited for the daemon.
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0); n != 1 || err != nil {
		t.Errorf("process %d lives on: %d, %v", pid, n, err)
	}
	if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	made := filepath.Dir(daemon.Cmdline[at]) // the directory of the tests
	if _, err := os.Lstat(made); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %s, %v", made, err)
	}
}

// waitForEmpty waits until nothing but keep is in dir: the guardian of a killed
// isdaemon cleans up after it. inotify(7) tells of each change.
func waitForEmpty(t *testing.T, dir, keep string) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	events.SetReadDeadline(time.Now().Add(deadline))
	for {
		left, _ := filepath.Glob(filepath.Join(dir, "*"))
		if len(left) == 1 && left[0] == keep {
			return
		}
		if _, err := events.Read(make([]byte, 4096)); err != nil {
			t.Fatalf("left: %s: %v", strings.Join(left, " "), err)
		}
	}
}
