//go:build linux

package boot

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const timeout = time.Minute

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

func newSystem(t *testing.T) *System {
	t.Helper()
	s, err := New()
	if errors.Is(err, ErrNotHere) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func boot(t *testing.T, s *System) {
	t.Helper()
	err := s.Boot(timeout)
	if errors.Is(err, ErrNotHere) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A machine is up, has the ID of its boot, goes down as it was told, and is up again
// under another ID.
func TestReboot(t *testing.T) {
	s := newSystem(t)
	var ids []string
	for range 2 {
		boot(t, s)
		out, err := s.Command("cat", "/proc/1/comm", "/proc/sys/kernel/random/boot_id").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "systemd\n") {
			t.Fatalf("%v: %s", err, out)
		}
		ids = append(ids, string(out))
		if out, err := s.Command("systemctl", "--no-block", "reboot").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if sig, err := s.WaitDown(timeout); sig != Rebooted || err != nil {
			t.Fatalf("PID 1 ended by %v, %v", sig, err)
		}
	}
	if ids[0] == ids[1] {
		t.Errorf("two boots have one ID: %s", ids)
	}
}

// holdName is the variable that has this program boot a machine, and stay.
const holdName = "BOOT_TEST_HOLD"

// TestInterrupted holds that nothing is left of a machine when whoever booted it is
// killed: no process, no cgroup and no file. Mounts go with PID 1's namespace.
func TestInterrupted(t *testing.T) {
	if os.Getenv(holdName) != "" {
		hold(t)
	}
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			boot(t, newSystem(t)) // or skip
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestInterrupted$")
			cmd.Env = append(os.Environ(), holdName+"=1")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			var guardian, init int
			var dir, cgroup string
			if _, err := fmt.Fscan(out, &guardian, &init, &dir, &cgroup); err != nil {
				t.Fatalf("hear from the one that boots: %v", err)
			}
			var ends []*os.File
			for _, pid := range []int{guardian, init} {
				pidfd, err := watchEnd(pid)
				if err != nil {
					t.Fatal(err)
				}
				defer pidfd.Close()
				ends = append(ends, pidfd)
			}
			cmd.Process.Signal(sig)
			for i, pidfd := range ends {
				if err := waitEnd(pidfd, timeout); err != nil {
					t.Errorf("process %d has not ended: %v", []int{guardian, init}[i], err)
				}
			}
			for _, path := range []string{dir, cgroup} {
				if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left: %v", path, err)
				}
			}
		})
	}
}

// hold boots a machine, says what there is of it, and stays.
func hold(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Boot(timeout); err != nil {
		t.Fatal(err)
	}
	cgroups, err := cgroup2()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(s.guardian.Process.Pid, s.pid, s.dir, filepath.Join(cgroups, "daemonsteps-"+filepath.Base(s.dir)))
	select {}
}

// Who stops goes on, as often as it stops.
func TestKeepGoing(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "kill -STOP $$; kill -STOP $$; echo on")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(timeout, func() { cmd.Process.Kill() })
	defer late.Stop()
	go keepGoing(cmd.Process.Pid)
	text, _ := io.ReadAll(out)
	if err := cmd.Wait(); err != nil || string(text) != "on\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// A machine whose systemd does not come up is told, with its console, and is gone.
func TestBootFails(t *testing.T) {
	s := newSystem(t)
	if err := os.Remove(s.Path("/lib")); err != nil { // Its dynamic linker is not found.
		t.Fatal(err)
	}
	if err := os.Remove(s.Path("/lib64")); err != nil {
		t.Fatal(err)
	}
	err := s.Boot(timeout)
	if errors.Is(err, ErrNotHere) {
		t.Skip(err)
	}
	if err == nil || !strings.Contains(err.Error(), "PID 1 has ended; its console:\nboot: execve /usr/lib/systemd/systemd: no such file or directory") {
		t.Errorf("%v", err)
	}
}
