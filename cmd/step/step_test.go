//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"daemonsteps/internal/keep"
	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// bin holds step and all the steps, built once.
var bin string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "without-ptrace" {
		fmt.Fprintln(os.Stderr, execWithoutPtrace(os.Args[2:]))
		os.Exit(1)
	}
	status, err := testInOneDirectory(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prepare the tests:", err)
		status = 1
	}
	os.Exit(status)
}

// testInOneDirectory runs the tests with a new directory as TMPDIR. All that they
// make is in it, and all that they start can be found by it.
func testInOneDirectory(m *testing.M) (status int, err error) {
	keep.InMemory()
	dir, err := os.MkdirTemp("", "step-test-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	os.Setenv("TMPDIR", dir)

	// A daemon outlives a ^C. One that a test has started must not.
	keep.RemoveIfInterrupted(dir, func() {
		syscall.ForkLock.Lock() // From here on we start nothing.
		for heirs := heirsOf(dir); len(heirs) > 0; heirs = heirsOf(dir) {
			for _, p := range heirs {
				p.kill()
			}
		}
	})

	built, err := buildAll(filepath.Join("..", ".."))
	if err != nil {
		return 0, err
	}
	bin = filepath.Join(dir, "bin")
	if err := os.CopyFS(bin, os.DirFS(built)); err != nil {
		return 0, err
	}
	status = m.Run()
	for _, dir := range keep.Temporary() {
		os.RemoveAll(dir)
	}
	return status, nil
}

// buildAll returns a directory with the steps and this program.
func buildAll(root string) (string, error) {
	var sources []string
	for _, pattern := range []string{"go.*", "steps/*/*.go", "cmd/step/*.go", "internal/proc/*.go"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return "", err
		}
		sources = append(sources, paths...)
	}
	return keep.Build(root, "bin", sources, func(bin, _ string) error {
		return keep.Go(".", "-o", bin+"/", ".", "../../steps/...")
	})
}

// execWithoutPtrace becomes the program in args, in a process for which
// ptrace(2) is forbidden, as some containers forbid it (seccomp(2)).
func execWithoutPtrace(args []string) error {
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PTRACE, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER,
		uintptr(unsafe.Pointer(&program)), 0, 0); err != nil {
		return err
	}
	return unix.Exec(args[0], args, os.Environ())
}

// bench is one reader at work: a directory of programs and a state directory.
type bench struct {
	*testing.T
	bin, runtimeDir string
}

// newBench returns a bench. When the test ends, nothing may be left on it.
func newBench(t *testing.T) bench {
	t.Parallel()
	// Not t.TempDir: a socket's path has room for 107 bytes (unix(7)).
	dir, err := os.MkdirTemp("", "b-")
	if err != nil {
		t.Fatal(err)
	}
	b := bench{t, bin, dir}
	t.Cleanup(func() {
		b.run("stop")
		b.empty()
		os.RemoveAll(dir)
	})
	return b
}

// program puts a shell script in the place of step 3 of this bench.
func (b *bench) program(script string) {
	b.Helper()
	dir := b.TempDir()
	// A child that is born while the file is open for writing has it open too
	// until its execve(2), and what is open for writing cannot be executed.
	syscall.ForkLock.RLock()
	err := os.WriteFile(filepath.Join(dir, "03-close-fds"), []byte("#!/bin/sh\n"+script), 0o755)
	syscall.ForkLock.RUnlock()
	if err == nil {
		err = os.Link(filepath.Join(b.bin, "step"), filepath.Join(dir, "step"))
	}
	if err != nil {
		b.Fatal(err)
	}
	b.bin = dir
}

// command returns step with args, to be run in a session without a terminal.
func (b *bench) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(b.bin, "step"), args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+b.runtimeDir)
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	return cmd
}

// run runs step with args. Its output goes to files: the daemons of steps 1
// and 2 would keep a pipe open.
func (b *bench) run(args ...string) (stdout, stderr string, status int) {
	b.Helper()
	return b.wait(b.command(args...))
}

func (b *bench) wait(cmd *exec.Cmd) (stdout, stderr string, status int) {
	b.Helper()
	dir := b.TempDir()
	var files [2]*os.File
	for i, name := range []string{"stdout", "stderr"} {
		var err error
		if files[i], err = os.Create(filepath.Join(dir, name)); err != nil {
			b.Fatal(err)
		}
		defer files[i].Close()
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	if err := cmd.Run(); cmd.ProcessState == nil {
		b.Fatal(err)
	}
	out, err := os.ReadFile(files[0].Name())
	errOut, err2 := os.ReadFile(files[1].Name())
	if err := errors.Join(err, err2); err != nil {
		b.Fatal(err)
	}
	return string(out), string(errOut), cmd.ProcessState.ExitCode()
}

// empty checks that no state is left.
func (b *bench) empty() {
	b.Helper()
	left, err := os.ReadDir(b.runtimeDir)
	if err != nil || len(left) > 0 {
		b.Errorf("left in the state directory: %v, %v", left, err)
	}
}

// pid takes hold of the process whose pid out tells.
func (b *bench) pid(out string) process {
	b.Helper()
	var pid int
	if _, err := fmt.Sscanf(out, "pid %d\n", &pid); err != nil {
		b.Fatalf("no pid in %q: %v", out, err)
	}
	p, err := hold(pid)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.release)
	return p
}

// ended checks that the process has ended.
func (b *bench) ended(p process) {
	b.Helper()
	if ended, err := p.wait(0); !ended || err != nil {
		b.Errorf("pid %d has not ended: %v", p.pid, err)
		p.kill()
	}
}

func TestStartAndStop(t *testing.T) {
	marks := map[string]string{
		"01-fork":      "ppid",
		"02-setsid":    "pgid sid tty",
		"03-close-fds": "fd 0 fd 1 fd 2",
		"04-chdir":     "cwd umask",
		"05-signals":   "",
		"06-config":    "config",
		"07-log":       "log",
		"08-pidfile":   "PID file",
		"09-ready":     "socket",
		// Its group is its session's leader's, as in no step before.
		"10-refork":     "pgid sid",
		"11-privileges": "environ newprivs",
		"12-systemd":    "ppid",
	}
	for _, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			b := newBench(t)
			out, errOut, status := b.run("start", s.name)
			if status != 0 || errOut != "" {
				t.Fatalf("status %d, stderr %q", status, errOut)
			}
			p := b.pid(out)
			var marked []string
			for _, line := range regexp.MustCompile(`(?m)^(\w+(?: \w+)?)  +\S.* \*$`).FindAllStringSubmatch(out, -1) {
				marked = append(marked, line[1])
			}
			if got := strings.Join(marked, " "); got != marks[s.name] {
				t.Errorf("marked: %q, want %q, in\n%s", got, marks[s.name], out)
			}
			// The launcher's parent: it was seen alive.
			starter, parent, judge := "launcher (ended)", "(step)  ", fmt.Sprintf(" STEP=%d\n", s.number())
			if s.number() >= supervised { // There we are the service manager, and the parent.
				starter, parent, judge = "service manager", "(step) *\n", " STYLE=new\n"
			}
			for _, want := range []string{
				"caller (", starter, parent, judge,
				fmt.Sprintf("new in step %d: %s\n", s.number(), s.news),
				fmt.Sprintf(" ls -l /proc/%d/fd\n", p.pid),
			} {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}

			if s.number() >= 4 {
				// A daemon that has its file, or has written to it, has its signal handlers too.
				waitForFile(t, b.runtimeDir, s.number() >= 7)
			}
			out, errOut, status = b.run("stop")
			want := fmt.Sprintf("step %d, pid %d: ended, nothing left behind\n", s.number(), p.pid)
			if s.number() == 4 {
				want = fmt.Sprintf("step 4, pid %d: ended, left behind: 1 directory, 1 file (step 5 cleans up)\n", p.pid)
			}
			if out != want || errOut != "" || status != 0 {
				t.Errorf("stop: %q, %q, status %d, want %q", out, errOut, status, want)
			}
			b.ended(p)
			b.empty()
		})
	}
}

// waitForFile waits until a daemon below dir has made its file, or has written to its
// log. The kernel tells of each new name and of each write (inotify(7)).
func waitForFile(t *testing.T, dir string, log bool) {
	t.Helper()
	found := func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, "*/*/*/ticks"))
		if log {
			names, _ = filepath.Glob(filepath.Join(dir, "*/*/files/log"))
		}
		return slices.ContainsFunc(names, func(name string) bool {
			info, err := os.Stat(name)
			return err == nil && (!log || info.Size() > 0)
		})
	}
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	dirs, _ := filepath.Glob(filepath.Join(dir, "*/*/*"))
	for _, d := range dirs {
		if _, err := unix.InotifyAddWatch(watch, d, unix.IN_CREATE|unix.IN_MODIFY); err != nil && !errors.Is(err, unix.ENOTDIR) {
			t.Fatal(err)
		}
	}
	for !found() {
		poll := []unix.PollFd{{Fd: int32(watch), Events: unix.POLLIN}}
		if n, err := unix.Poll(poll, 10_000); err == unix.EINTR {
			continue
		} else if n != 1 {
			t.Fatalf("the daemon has made no file in %v: %v", dirs, err)
		}
		unix.Read(watch, make([]byte, 4096))
	}
}

// From step 6 on the daemon has files, and the table says where.
func TestFiles(t *testing.T) {
	for _, c := range []struct {
		step  string
		lines []string // patterns
	}{
		{"05-signals", nil},
		{"06-config", []string{`config    files/conf \*`}},
		{"07-log", []string{`config    files/conf`, `log       files/log \*`}},
		{"08-pidfile", []string{`config    files/conf`, `log       files/log`, `PID file  \.\./08\.pid, which it holds \*`}},
		{"09-ready", []string{`config    files/conf`, `log       files/log`, `PID file  \.\./09\.pid, which it holds`,
			`socket    daemonsteps-\d+/status \*`}},
	} {
		t.Run(c.step, func(t *testing.T) {
			b := newBench(t)
			out, errOut, status := b.run("start", c.step)
			if status != 0 || errOut != "" {
				t.Fatalf("status %d, stderr %q", status, errOut)
			}
			p := b.pid(out)
			dirs, _ := filepath.Glob(filepath.Join(b.runtimeDir, "*/*/"))
			if len(dirs) == 0 {
				t.Fatal("the start has no directory")
			}
			want := `\n\nits files, in ` + regexp.QuoteMeta(dirs[0]) + `:\n` + strings.Join(c.lines, `\n`) + `\n\n`
			if len(c.lines) == 0 {
				want = `\nfd 2 .*\n\n. new in step`
			}
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("no %s in\n%s", want, out)
			}
			b.run("stop")
			b.ended(p)
		})
	}
}

// From step 10 on the daemon is nobody's child when its launcher ends, and is found
// all the same. The one in between led its session, and has ended.
func TestStartOfAThirdProcess(t *testing.T) {
	b := newBench(t)
	out, errOut, status := b.run("start", "10")
	if status != 0 || errOut != "" {
		t.Fatalf("status %d, stderr %q", status, errOut)
	}
	p := b.pid(out)
	stat, err := proc.ReadStat(p.pid)
	if err != nil {
		t.Fatal(err)
	}
	if stat.SID == p.pid {
		t.Errorf("the daemon, pid %d, leads its session", p.pid)
	}
	for _, want := range []string{fmt.Sprintf(" %d\n", p.pid), fmt.Sprintf("  %d (ended) *\n", stat.SID)} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	b.run("stop")
	b.ended(p)
}

// A second start of step 8 is refused, and says what the step itself says. The first
// daemon lives on. One that is killed does not keep the next from starting.
func TestOneAtATime(t *testing.T) {
	b := newBench(t)
	out, _, _ := b.run("start", "8")
	first := b.pid(out)
	held, _ := filepath.Glob(filepath.Join(b.runtimeDir, "*/08.pid"))
	if len(held) != 1 || holder(held[0]) != first.pid {
		t.Fatalf("the first, pid %d, does not hold %q", first.pid, held)
	}
	out, errOut, status := b.run("start", "8")
	want := fmt.Sprintf("08-pidfile: the daemon runs already, as process %d: it holds %s\n", first.pid, held[0])
	if out != "" || errOut != want || status != 1 {
		t.Errorf("a second start: %q, %q, status %d, want %q", out, errOut, status, want)
	}
	if ended, err := first.wait(0); ended || err != nil {
		t.Errorf("the first has ended: %v", err)
	}
	if err := first.kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(held[0]); err != nil {
		t.Errorf("a daemon that was killed has removed its PID file: %v", err)
	}
	out, errOut, status = b.run("start", "8")
	if status != 0 {
		t.Fatalf("a third start: status %d, stderr %q", status, errOut)
	}
	third := b.pid(out)
	if err := third.kill(); err != nil {
		t.Fatal(err)
	}
	out, _, _ = b.run("stop")
	if n := strings.Count(out, ": had ended already, "); n != 2 {
		t.Errorf("%d of 2 had ended already: %q", n, out)
	}
	b.empty() // The file of the third is gone with it.
}

func TestStartsAndStopsAtOnce(t *testing.T) {
	b := newBench(t)
	var wg sync.WaitGroup
	outs := make([]string, 4)
	for i := range outs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			outs[i], _, _ = b.run("start", "3")
		}()
	}
	wg.Wait()
	var held []process
	for _, out := range outs {
		held = append(held, b.pid(out))
	}
	// Stops that run at once share the work: none is done twice or not at all.
	stops := make([]string, 3)
	for i := range stops {
		wg.Add(1)
		go func() {
			defer wg.Done()
			stops[i], _, _ = b.run("stop")
		}()
	}
	wg.Wait()
	all := strings.Join(stops, "")
	if n := strings.Count(all, ": ended, nothing left behind\n"); n != len(outs) {
		t.Errorf("%d were stopped, want %d: %q", n, len(outs), all)
	}
	for _, p := range held {
		b.ended(p)
	}
}

func TestStopFindsADaemonGone(t *testing.T) {
	b := newBench(t)
	out, _, _ := b.run("start", "2")
	p := b.pid(out)
	if err := p.kill(); err != nil {
		t.Fatal(err)
	}
	out, _, status := b.run("stop")
	if want := fmt.Sprintf("step 2, pid %d: had ended already, nothing left behind\n", p.pid); out != want || status != 0 {
		t.Errorf("%q, status %d, want %q", out, status, want)
	}
	if out, _, status = b.run("stop"); out != "nothing to stop\n" || status != 0 {
		t.Errorf("a second stop: %q, status %d", out, status)
	}
}

func TestStartWithoutPtrace(t *testing.T) {
	b := newBench(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := b.command("start", "3")
	cmd.Args = append([]string{self, "without-ptrace", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = self
	out, errOut, status := b.wait(cmd)
	if status != 0 || errOut != "" {
		t.Fatalf("status %d, stderr %q", status, errOut)
	}
	want := "the launcher ended before it could be looked at: ptrace: operation not permitted\n"
	if !strings.Contains(out, want) {
		t.Errorf("no %q in\n%s", want, out)
	}
	p := b.pid(out) // It was found nevertheless: stop ends it.
	b.run("stop")
	b.ended(p)
}

// A start that fails tells why, and leaves nothing.
func TestStartFails(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		status int
		stderr string
	}{
		"own status":              {"echo no >&2; exit 7", 7, "no\n"},
		"own status, daemon left": {"sleep 1000 & echo no >&2; exit 7", 7, "no\n"},
		"killed": {"kill -9 $$", 137,
			"step: start step 3: SIGKILL ended the launcher\n"},
		"no daemon": {"exit 0", 1,
			"step: start step 3: the launcher left 0 processes behind, not 1\n"},
		"two daemons": {"sleep 1000 & sleep 1000 & exit 0", 1,
			"step: start step 3: the launcher left 2 processes behind, not 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.program(c.script)
			out, errOut, status := b.run("start", "3")
			if status != c.status || errOut != c.stderr || out != "" {
				t.Errorf("status %d, stdout %q, stderr %q", status, out, errOut)
			}
			b.empty()
		})
	}
}

func TestStartOfAProgramThatIsNotBuilt(t *testing.T) {
	b := newBench(t)
	b.program("")
	_, errOut, status := b.run("start", "1")
	want := fmt.Sprintf("step: start step 1: fork/exec %s: no such file or directory (make step1 builds it)\n",
		filepath.Join(b.bin, "01-fork"))
	if status != 1 || errOut != want {
		t.Errorf("status %d, stderr %q, want %q", status, errOut, want)
	}
	b.empty()
}

// startHanging runs a start whose launcher starts a child, says its pid, and stays.
func startHanging(t *testing.T, b bench) (*exec.Cmd, process) {
	t.Helper()
	b.program("sleep 1000 &\necho pid $!; exec sleep 1001")
	cmd := b.command("start", "3")
	pipe, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(pipe).ReadString('\n')
	if err != nil {
		t.Error(err)
	}
	child := b.pid(line)
	return cmd, child
}

// A start that is interrupted ends the launcher, which hangs, and its child.
func TestStartInterrupted(t *testing.T) {
	b := newBench(t)
	cmd, child := startHanging(t, b)
	cmd.Process.Signal(unix.SIGINT)
	cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != 130 {
		t.Errorf("status %d, want 130", status)
	}
	b.ended(child)
	b.empty()
}

// A start that is killed can clean up nothing. The kernel ends the launcher,
// and stop finds the rest.
func TestStartKilled(t *testing.T) {
	b := newBench(t)
	cmd, child := startHanging(t, b)
	launcher, err := proc.ReadStat(child.pid)
	if err != nil {
		t.Fatal(err)
	}
	pidfd, err := unix.PidfdOpen(launcher.PPID, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pidfd)
	cmd.Process.Kill()
	cmd.Wait()
	// The kernel ends the launcher, but not at once (PTRACE_O_EXITKILL, ptrace(2)).
	ended, err := process{pid: launcher.PPID, pidfd: pidfd}.wait(10 * time.Second)
	if !ended || err != nil {
		t.Fatalf("the launcher (pid %d) has not ended: %v", launcher.PPID, err)
	}
	out, _, status := b.run("stop")
	if want := "step 3: the start was cut short, left behind: 1 process (step 5 cleans up)\n"; out != want || status != 0 {
		t.Errorf("stop: %q, status %d, want %q", out, status, want)
	}
	b.ended(child)
}

func TestUsage(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		args   string
		status int
		stdout string
		stderr string
	}{
		{"list", 0, "1  01-fork\n2  02-setsid\n3  03-close-fds\n4  04-chdir\n5  05-signals\n" +
			"6  06-config\n7  07-log\n8  08-pidfile\n9  09-ready\n10  10-refork\n11  11-privileges\n12  12-systemd\n", ""},
		{"stop", 0, "nothing to stop\n", ""},
		{"-h", 0, usage, ""},
		{"", 2, "", "step: start, stop or list? (step -h explains)\n"},
		{"begin", 2, "", "step: unknown command \"begin\" (step -h explains)\n"},
		{"start", 2, "", "step: start needs one step (step -h explains)\n"},
		{"start 1 2", 2, "", "step: start needs one step (step -h explains)\n"},
		{"stop 1", 2, "", "step: unexpected argument \"1\" (step -h explains)\n"},
		{"start 99", 2, "", "step: no step \"99\"; the steps are 01-fork, 02-setsid, 03-close-fds, 04-chdir, 05-signals, " +
			"06-config, 07-log, 08-pidfile, 09-ready, 10-refork, 11-privileges, 12-systemd (step -h explains)\n"},
	} {
		out, errOut, status := b.run(strings.Fields(c.args)...)
		if out != c.stdout || errOut != c.stderr || status != c.status {
			t.Errorf("step %s: %q, %q, status %d", c.args, out, errOut, status)
		}
	}
}

func TestFindStep(t *testing.T) {
	for _, word := range []string{"3", "03", "03-close-fds"} {
		if s, err := findStep(word); err != nil || s.name != "03-close-fds" {
			t.Errorf("findStep(%q) = %q, %v", word, s.name, err)
		}
	}
	for _, word := range []string{"", "0", "003", "13", "03-", "close-fds", "../03-close-fds"} {
		if s, err := findStep(word); err == nil {
			t.Errorf("findStep(%q) = %q", word, s.name)
		}
	}
}

// The list of steps is that of the folders.
func TestStepsAreTheFolders(t *testing.T) {
	var names []string
	for _, s := range steps {
		names = append(names, filepath.Join("../../steps", s.name))
	}
	folders, err := filepath.Glob("../../steps/*")
	if err != nil || strings.Join(folders, " ") != strings.Join(names, " ") {
		t.Errorf("folders %q, %v, but the steps are %q", folders, err, names)
	}
}

func TestStoreMustBeOurs(t *testing.T) {
	elsewhere := t.TempDir()
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"symbolic link": {func(path string) error { return os.Symlink(elsewhere, path) }, "not a directory"},
		"file":          {func(path string) error { return os.WriteFile(path, nil, 0o700) }, "not a directory"},
		"open to others": {func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o770))
		}, "its mode is 0770, not 0700"},
	} {
		path := filepath.Join(t.TempDir(), "state")
		if err := c.make(path); err != nil {
			t.Fatal(err)
		}
		_, err := openStore(path, true)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v, want %q and the path", name, err, c.want)
		}
	}
	if os.Geteuid() == 0 {
		path := filepath.Join(t.TempDir(), "state")
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chown(path, 1, 1)); err != nil {
			t.Fatal(err)
		}
		if _, err := openStore(path, true); err == nil || !strings.Contains(err.Error(), "its owner is uid 1, not we, uid 0") {
			t.Errorf("another's directory: error %v", err)
		}
	}
}

func TestStorePath(t *testing.T) {
	name := fmt.Sprintf("daemonsteps-%d", os.Geteuid())
	tmp, own := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", tmp)
	for runtimeDir, want := range map[string]string{
		own:                           own,
		"":                            tmp,
		"not/absolute":                tmp,
		filepath.Join(tmp, "missing"): tmp,
	} {
		t.Setenv("XDG_RUNTIME_DIR", runtimeDir)
		if got := storePath(); got != filepath.Join(want, name) {
			t.Errorf("XDG_RUNTIME_DIR=%s: %s", runtimeDir, got)
		}
	}
}

// Many at once: each has the store for itself, and the last one removes it.
func TestStoreTakesTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 20 {
				s, err := openStore(path, true)
				if err != nil {
					t.Error(err)
					return
				}
				e, err := s.add(steps[0])
				if err == nil {
					var all []entry
					if all, err = s.entries(); len(all) != 1 || all[0] != e {
						t.Errorf("entries %v, want %v alone", all, e)
					}
					err = errors.Join(err, e.remove())
				}
				if err != nil {
					t.Error(err)
				}
				s.close()
			}
		}()
	}
	wg.Wait()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state directory is still there: %v", err)
	}
}

// started puts the shell script on record as a daemon of step 1.
func started(t *testing.T, script string) (entry, process) {
	t.Helper()
	s, err := openStore(filepath.Join(t.TempDir(), "state"), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	e, err := s.add(steps[0])
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", script+"\necho ready\nwait")
	cmd.Env = append(os.Environ(), "TMPDIR="+e.dir)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := hold(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, p := range heirsOf(e.dir) {
			p.kill()
			p.release()
		}
		cmd.Wait()
		p.release()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	e.PID, e.Start = p.pid, p.start
	if err := e.write(0); err != nil {
		t.Fatal(err)
	}
	return e, p
}

func TestStopKillsWhatIgnoresSIGTERM(t *testing.T) {
	e, p := started(t, `trap "" TERM; sleep 1000 &`)
	line, err := e.stop(0)
	want := fmt.Sprintf("step 1, pid %d: did not end in 0s, killed, left behind: 1 process (step 5 cleans up)", p.pid)
	if err != nil || line != want {
		t.Errorf("%q, %v, want %q", line, err, want)
	}
	if ended, _ := p.wait(0); !ended {
		t.Error("it has not ended")
	}
}

func TestStopWakesWhatIsStopped(t *testing.T) {
	e, p := started(t, "sleep 1000 &")
	if err := p.signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	line, err := e.stop(time.Minute)
	if err != nil || !strings.Contains(line, ": ended, left behind: 1 process") {
		t.Errorf("%q, %v", line, err)
	}
}

// A process that has the number of the one on record is not that one.
func TestStopLeavesAnotherProcessAlone(t *testing.T) {
	e, p := started(t, "sleep 1000 &")
	e.Start--
	e.dir = t.TempDir() // Not the TMPDIR of that process.
	line, err := e.stop(time.Minute)
	if err != nil || !strings.Contains(line, ": had ended already, nothing left behind") {
		t.Errorf("%q, %v", line, err)
	}
	if ended, err := p.wait(0); ended || err != nil {
		t.Errorf("it has ended: %v", err)
	}
}

func TestTable(t *testing.T) {
	process := func(pid int, cwd string, fds ...string) *proc.Process {
		p := &proc.Process{Stat: proc.Stat{PID: pid, PPID: 1, PGID: pid, SID: pid}, Cwd: cwd, Umask: 0o22}
		for i, target := range fds {
			p.FDs = append(p.FDs, proc.FD{FD: i, Target: target})
		}
		return p
	}
	long := "/home/reader/" + strings.Repeat("日本語/", 20) + "end"
	shell := process(10, long, "/dev/pts/1", "/dev/pts/1", "/dev/pts/1")
	shell.TTY = "pts/1"
	daemon := process(30, "/a\x1b[2Jb", "/dev/null")
	plain := 0 // the rows that each table has
	for _, r := range rows {
		if r.from == 1 {
			plain++
		}
	}
	out := table(step{name: "01-x", rows: []string{"cwd", "fd 0"}}, false,
		column{title: "shell", p: shell, parent: "a\nb"},
		column{title: "launcher"},
		column{title: "daemon", p: daemon})
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != 1+plain {
		t.Fatalf("%d lines:\n%s", len(lines), out)
	}
	wide := 0
	for _, line := range lines {
		wide = max(wide, width(line))
	}
	if wide > lineWidth || wide < lineWidth-2 {
		t.Errorf("%d cells wide:\n%s", wide, out)
	}
	for _, want := range []string{
		"1 (a?b) ", "/a?[2Jb *\n", "/dev/null *\n", "…", "/end ", "  -  ", "  none\n", "  closed\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Errorf("an escape sequence in %q", out)
	}
	colour := table(step{name: "01-x", rows: []string{"cwd"}}, true, column{title: "daemon", p: daemon})
	if !strings.Contains(colour, "\x1b[1;32m/a?[2Jb *\x1b[0m\n") {
		t.Errorf("no colour in %q", colour)
	}
	unread := table(step{name: "01-x"}, false, column{title: "shell", p: process(10, "")})
	if n := strings.Count(unread, "  ?\n"); n != 4 {
		t.Errorf("%d cells say that they could not be read, want 4:\n%s", n, unread)
	}
	daemon.UIDs.Effective, daemon.NoNewPrivs, daemon.Environ = 65534, true, []string{"PATH", "TMPDIR"}
	all := table(step{name: "11-x"}, false, column{title: "daemon", p: daemon, leader: " (ended)"})
	for _, want := range []string{"\nsid       30 (ended)\n", "\nuid       65534\n", "\nenviron   2 variables\n", "\nnewprivs  none\n"} {
		if n := strings.Count(all, "\n"); !strings.Contains(all, want) || n != 1+len(rows) {
			t.Errorf("%d lines, or no %q in\n%s", n, want, all)
		}
	}
}

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		s    string
		w    int
		want string
	}{
		{"/home/reader", 12, "/home/reader"},
		{"/home/reader", 11, "/home…eader"},
		{"/home/reader", 1, "…"},
		{"日本語日本語", 12, "日本語日本語"},
		{"日本語日本語", 8, "日…本語"},
	} {
		if got := shorten(c.s, c.w); got != c.want || width(got) > c.w {
			t.Errorf("shorten(%q, %d) = %q, want %q", c.s, c.w, got, c.want)
		}
	}
}
