//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"daemonsteps/internal/keep"

	"golang.org/x/sys/unix"
)

// bin holds the bench, built once.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "bench-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	os.Setenv("TMPDIR", dir)
	keep.RemoveIfInterrupted(dir, func() {})
	status := 1
	if text, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin+"/", ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, text)
	} else {
		status = m.Run()
	}
	os.RemoveAll(bin)
	os.Exit(status)
}

// run returns a bench, to be started in the root of the repository, and where it makes
// its files. A daemon that it leaves would become our child.
func run(t *testing.T, args ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	dir = bin // Not t.TempDir: a socket's path has room for 107 bytes (unix(7)).
	cmd = exec.Command(filepath.Join(bin, "bench"), args...)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	if os.Geteuid() == 0 {
		dir = "/tmp"
	}
	return cmd, dir
}

// nothingLeft holds that no file and no process is left.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if left, err := filepath.Glob(filepath.Join(dir, "daemonsteps-bench-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("left a process: %d, %v", pid, err)
	}
}

// TestBench holds what is printed, and that nothing is left. Whether a target is met
// does not count here: two starts say little.
func TestBench(t *testing.T) {
	cmd, dir := run(t, "-starts", "2", "-idle", "50ms")
	var errOut strings.Builder
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	for line := range strings.Lines(errOut.String()) {
		if !regexp.MustCompile(`^bench: a start of \S+ is worth [\d.]+ empty programs, and [\d.]+ is the target\n$`).MatchString(line) {
			t.Errorf("standard error: %s", line)
		}
	}
	if missed := errOut.Len() > 0; missed != (err != nil) || missed && cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v, and on standard error %q", err, errOut.String())
	}
	for line := range strings.Lines(string(out)) {
		if n := utf8.RuneCountInString(line) - 1; n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	const times = ` +\d+\.\d\d +\d+\.\d\d – \d+\.\d\d +`
	for _, want := range []string{
		`go\S+, Linux \S+, \d+ CPUs, load [\d.]+, user \d+`,
		`func main\(\) {}` + times + `1\.00`,
		`05-signals` + times + `\d+\.\d\d  at most 1\.9`,
		`11-privileges` + times + `\d+\.\d\d  at most 4\.5`,
		`(– )?C, daemon\(3\).*`,
		`(– )?setsid -f sleep.*`,
		`(– )?start-stop-daemon --background.*`,
		`05-signals +RSS +\d+ kB  PSS +\d+ kB  \d+ wake-ups, [\d.]+ per second`,
		`11-privileges +RSS +\d+ kB  PSS +\d+ kB  \d+ wake-ups, [\d.]+ per second`,
	} {
		if !regexp.MustCompile(`(?m)^` + want + `$`).Match(out) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if user := fmt.Sprintf("user %d", os.Getuid()); os.Getuid() == 0 && strings.Contains(string(out), user+"\n") {
		t.Error("it was measured as root")
	}
	nothingLeft(t, dir)
}

// TestInterrupted holds that a ^C leaves nothing, when all is started and watched for long.
func TestInterrupted(t *testing.T) {
	cmd, out, dir := start(t)
	// The first lines come before the table, the table before the daemons are watched.
	text := make([]byte, 0, 4096)
	for !strings.Contains(string(text), "11-privileges") {
		n, err := out.Read(text[len(text):cap(text)])
		if err != nil {
			cmd.Wait()
			t.Fatalf("%v after %q", err, text)
		}
		text = text[:len(text)+n]
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended(t, cmd, dir)
}

// TestNobodyReadsOn holds the same for a reader that has seen enough.
func TestNobodyReadsOn(t *testing.T) {
	cmd, out, dir := start(t)
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	out.Close()
	ended(t, cmd, dir)
}

// start starts a bench that goes on for an hour.
func start(t *testing.T) (cmd *exec.Cmd, out io.ReadCloser, dir string) {
	t.Helper()
	cmd, dir = run(t, "-starts", "1", "-idle", "1h")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	t.Cleanup(func() { late.Stop() })
	return cmd, out, dir
}

// ended holds that a bench says by its status that it was interrupted, and leaves nothing.
func ended(t *testing.T, cmd *exec.Cmd, dir string) {
	t.Helper()
	cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 1 {
		t.Errorf("it ended with %v, and not with status 1", cmd.ProcessState)
	}
	nothingLeft(t, dir)
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"x"}, {"-starts", "0"}, {"-idle", "-1s"}, {"-nosuch"}} {
		cmd, dir := run(t, args...)
		text, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || len(text) == 0 {
			t.Errorf("%q: status %d, %q", args, cmd.ProcessState.ExitCode(), text)
		}
		nothingLeft(t, dir)
	}
}
