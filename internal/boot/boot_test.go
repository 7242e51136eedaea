//go:build linux

package boot

import (
	"errors"
	"os"
	"strings"
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

// A machine is up, has the ID of its boot, goes down as it was told, and is up again
// under another ID.
func TestReboot(t *testing.T) {
	s := newSystem(t)
	var ids []string
	for range 2 {
		if err := s.Boot(timeout); err != nil {
			t.Fatal(err)
		}
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
