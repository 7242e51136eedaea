//go:build linux

package lab

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"daemonsteps/internal/keep"
	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// long is how long anything may take here. It only ends a test that has failed.
const long = 10 * time.Second

// TestMain runs the tests in a TMPDIR of their own, and then looks for what they
// have left behind. The test binary is also the
// programs that the tests start (roles).
func TestMain(m *testing.M) {
	Main()
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		os.Exit(roles[os.Args[1]](os.Args[2:]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	flag.Parse()
	if dir := flag.Lookup("test.gocoverdir"); testing.CoverMode() != "" && dir.Value.String() != "" {
		// Guardian and shell write their counters there as well, and the testing
		// package adds up all that it finds. go test has set this; who runs the
		// test binary by hand has not.
		os.Setenv("GOCOVERDIR", dir.Value.String())
	}
	if os.Getenv("GORACE") == "" {
		// With -race every process waits a second before it exits, if not told so.
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	keep.InMemory()
	tmp, err := os.MkdirTemp("", "labtest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv("TMPDIR", tmp)
	keep.RemoveIfInterrupted(tmp, func() {}) // The guardians end what we have started when we have gone.
	// What we were started to ignore (a shell's background job ignores SIGINT) is
	// at its default action in what we start: a signal that is handled here is.
	for _, sig := range []os.Signal{hup, intr} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
	if !raceDetector && testing.CoverMode() == "" { // They look at processes of this program alone.
		if Helper, err = keep.LabHelper(filepath.Join("..", "..")); err != nil {
			fmt.Fprintln(os.Stderr, "build the helper:", err)
			return 1
		}
	}
	before := openThings()
	code := m.Run()
	if left := leftovers(tmp, before); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "FAIL: the tests have left behind:\n\t"+strings.Join(left, "\n\t"))
		code = 1
	}
	for _, dir := range keep.Temporary() {
		os.RemoveAll(dir)
	}
	if err := os.RemoveAll(tmp); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// leftovers lists processes, files and descriptors that should not be there.
func leftovers(tmp string, before []string) (left []string) {
	children, err := proc.Children(os.Getpid())
	if err != nil {
		left = append(left, err.Error())
	}
	for _, pid := range children {
		st, _ := proc.ReadStat(pid)
		left = append(left, fmt.Sprintf("child process %d (%s) state %s", pid, st.Comm, st.State))
	}
	for _, pid := range withEnviron(tmp) {
		if pid != os.Getpid() {
			st, _ := proc.ReadStat(pid)
			left = append(left, fmt.Sprintf("process %d (%s) state %s", pid, st.Comm, st.State))
			unix.Kill(pid, unix.SIGKILL)
		}
	}
	files, err := os.ReadDir(tmp)
	if err != nil {
		left = append(left, err.Error())
	}
	for _, f := range files {
		if path := filepath.Join(tmp, f.Name()); !slices.Contains(keep.Temporary(), path) { // removed last
			left = append(left, "file "+path)
		}
	}
	for _, thing := range openThings() {
		if !slices.Contains(before, thing) {
			left = append(left, "open descriptor of "+thing)
		}
	}
	return left
}

// withEnviron returns the processes that have text in their environment. A
// process of the tests has the tests' TMPDIR there, wherever it has got to.
func withEnviron(text string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		if environ, err := os.ReadFile(path); err == nil && bytes.Contains(environ, []byte(text)) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// openThings returns what our descriptors lead to: terminals, pipes, sockets and
// processes. The runtime's own are of other kinds.
func openThings() (things []string) {
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		target, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		for _, kind := range []string{"/dev/pt", "pipe:", "socket:", "anon_inode:[pidfd]"} {
			if strings.HasPrefix(target, kind) {
				things = append(things, target)
			}
		}
	}
	return things
}

// newLab makes a Lab that is closed at the test's end. A Lab that is not at its
// end after a long time is ended, so that no call of the test hangs.
func newLab(t *testing.T, o Options) *Lab {
	t.Helper()
	l, err := New(o)
	if errors.Is(err, ErrNoNamespace) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	watch := time.AfterFunc(2*long, func() {
		t.Errorf("the lab is still there after %v: it is ended now", 2*long)
		l.conn.Close()
		l.guardian.Process.Kill()
	})
	t.Cleanup(func() {
		err := l.Close()
		watch.Stop()
		if err != nil {
			t.Error("close the lab:", err)
		}
	})
	return l
}

func start(t *testing.T, l *Lab, c Command) *Session {
	t.Helper()
	s, err := l.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wait waits for the end of a session's command.
func wait(t *testing.T, s *Session) Exit {
	t.Helper()
	e, err := s.Wait(long)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func rest(t *testing.T, l *Lab) []int {
	t.Helper()
	pids, err := l.Rest(long)
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

func output(t *testing.T, s *Session) string {
	t.Helper()
	out, stderr, err := s.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out + stderr
}

func stat(t *testing.T, l *Lab, pid int) proc.Stat {
	t.Helper()
	st, err := l.Stat(pid)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func waitExit(t *testing.T, l *Lab, pid int) Exit {
	t.Helper()
	e, err := l.WaitExit(pid, long)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func signal1(t *testing.T, l *Lab, pid int, sig syscall.Signal) {
	t.Helper()
	if err := l.Signal(pid, sig); err != nil {
		t.Fatal(err)
	}
}

// ends waits until a process is gone or a zombie, whoever its parent is.
func ends(t *testing.T, what string, pidfd int) {
	t.Helper()
	if ready, err := poll(pidfd, unix.POLLIN, long); err != nil || ready == 0 {
		t.Fatalf("%s is still there after %v (%v)", what, long, err)
	}
}

// pidfdOf returns a descriptor of a process, which is closed at the test's end.
func pidfdOf(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("open a pidfd of process %d: %v", pid, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// want compares, and says all of it.
func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func wantList[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func wantError(t *testing.T, what string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error, want one with %q", what, parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: the error does not say %q: %v", what, part, err)
		}
	}
}

// A command that does nothing, and leaves signals and descriptors as they are.
var sleep = []string{"/bin/sleep", "1000"}

func sh(script string, args ...string) []string {
	return append([]string{"/bin/sh", "-c", script, "sh"}, args...)
}

// role is the command line of a role of the test binary.
func role(name string, args ...string) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return append([]string{self, name}, args...)
}

// children starts sleeping children: each argument says how. It prints a line
// with the pid of each.
func children(args ...string) []string { return role("role-children", args...) }

// pidsIn returns the pids that a command has printed.
func pidsIn(t *testing.T, s *Session) (pids []int) {
	t.Helper()
	out := output(t, s)
	for _, word := range strings.Fields(out) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatalf("the command printed %q, not pids", out)
		}
		pids = append(pids, pid)
	}
	return pids
}

// The roles. Each returns its exit status.
var roles = map[string]func(args []string) int{
	"role-children": roleChildren,
	"role-headless": roleHeadless,
	"role-again":    roleAgain,
	"role-chain":    roleChain,
	"role-reaper":   roleReaper,
	"role-forker":   roleForker,
	"role-lab":      roleLab,
	"role-hostile":  roleHostile,
	"role-naps":     roleNaps,
}

func roleChildren(args []string) int {
	for _, how := range args {
		attr := &syscall.SysProcAttr{}
		switch how {
		case "same":
		case "group":
			attr.Setpgid = true
		case "session":
			attr.Setsid = true
		case "sibling": // the child's parent is our own parent
			attr.Cloneflags = syscall.CLONE_PARENT
		case "stay":
			sleepForEver()
		}
		p, err := os.StartProcess(sleep[0], sleep, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: attr})
		if err != nil {
			fmt.Println(err)
			return 1
		}
		fmt.Println(p.Pid)
	}
	return 0
}

// sleepForEver does not end of a signal that is handled, as pause(2) does.
func sleepForEver() {
	for {
		syscall.Pause()
	}
}

// helper makes a process that is not one of a Lab. It is gone at the test's end.
func helper(t *testing.T, args []string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*long)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	t.Cleanup(func() {
		cancel()
		if cmd.Process != nil && cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
	})
	return cmd
}
