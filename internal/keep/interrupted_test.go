//go:build linux

package keep

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"daemonsteps/internal/proc"
)

// interrupted names the directory that the test binary makes, says that it has, and has
// removed when it is interrupted: it is another program then.
const interrupted = "KEEP_TEST_INTERRUPTED"

func TestMain(m *testing.M) {
	dir := os.Getenv(interrupted)
	if dir == "" {
		os.Exit(m.Run())
	}
	below := filepath.Join(dir, "below", "further")
	// Only root may remove what is in there.
	if err := errors.Join(os.MkdirAll(below, 0o700), os.Chmod(below, 0o500), os.Chmod(filepath.Dir(below), 0o400)); err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	RemoveIfInterrupted(dir, func() { os.WriteFile(dir+".first", nil, 0o600) })
	fmt.Println("ready")
	select {}
}

// Each of the signals removes the directory and ends the process. One that was ignored
// when it started stays ignored.
func TestRemoveIfInterrupted(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// What we were started to ignore is at its default in what we start, if we handle it.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT)
	defer signal.Reset(syscall.SIGHUP, syscall.SIGINT)
	// What else we ignore, it ignores, too: make(1) hands on signal 32.
	us, err := proc.Read(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		start   string
		ignored []string
		sig     syscall.Signal
	}{
		{`exec "$0"`, nil, syscall.SIGHUP},
		{`exec "$0"`, nil, syscall.SIGINT},
		{`exec "$0"`, nil, syscall.SIGTERM},
		{`trap "" HUP; exec "$0"`, []string{"SIGHUP"}, syscall.SIGTERM},
		{`trap "" INT; exec "$0"`, []string{"SIGINT"}, syscall.SIGTERM},
	} {
		dir := filepath.Join(t.TempDir(), "dir")
		cmd := exec.Command("sh", "-c", c.start, self)
		cmd.Env = append(os.Environ(), interrupted+"="+dir)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		r.SetReadDeadline(time.Now().Add(10 * time.Second))
		cmd.Stdout, cmd.Stderr = w, w
		err = cmd.Start()
		w.Close()
		if err != nil {
			t.Fatal(err)
		}
		out := bufio.NewReader(r)
		if line, err := out.ReadString('\n'); line != "ready\n" {
			cmd.Process.Kill()
			t.Errorf("it says %q, %v", line, err)
		}
		if p, err := proc.Read(cmd.Process.Pid); err != nil || !slices.Equal(p.Ignored, slices.Concat(c.ignored, us.Ignored)) {
			t.Errorf("%s: it ignores %v, %v, and we %v", c.start, p.Ignored, err, us.Ignored)
		}
		if err := cmd.Process.Signal(c.sig); err != nil {
			t.Errorf("%s: %v", c.start, err)
		}
		if _, err := io.ReadAll(out); err != nil { // until it ends
			cmd.Process.Kill()
			t.Errorf("%s, %v: it has not ended: %v", c.start, c.sig, err)
		}
		cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != 1 {
			t.Errorf("%s, %v: %v", c.start, c.sig, cmd.ProcessState)
		}
		left, err := filepath.Glob(dir + "*")
		if first := []string{dir + ".first"}; err != nil || !slices.Equal(left, first) {
			t.Errorf("%s, %v: left is %v, %v, and not %v", c.start, c.sig, left, err, first)
		}
	}
}
