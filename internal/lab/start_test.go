//go:build linux

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

var ways = []Way{Job, Script, Direct}

// foreground returns the foreground process group of a process's terminal: field
// 8 of /proc/PID/stat.
func foreground(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	tpgid, _ := strconv.Atoi(strings.Fields(rest)[5])
	return tpgid
}

// environ returns a process's environment.
func environ(t *testing.T, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
}

func TestWays(t *testing.T) {
	for _, way := range ways {
		for _, pipe := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,pipe=%v", way, pipe), func(t *testing.T) {
				t.Parallel()
				l := newLab(t, Options{})
				held := filepath.Join(l.Place(), "held")
				if err := os.WriteFile(held, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				c := Command{Args: sleep, Way: way, Pipe: pipe,
					Hold: map[int]string{9: held, 77: held},
					Env:  map[string]string{"LAB_STRAY": "a b", "HOME": "/elsewhere", "TMPDIR": "/not/this"}}
				umask, ignored, blocked := proc.Mode(0o022), []string{}, []string{}
				if way != Direct {
					c.Umask, umask = 0o027, 0o027
					c.Ignore, ignored = []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1}, []string{"SIGHUP", "SIGUSR1"}
					c.Block, blocked = []syscall.Signal{syscall.SIGINT, syscall.SIGUSR2, 64}, []string{"SIGINT", "SIGUSR2", proc.SignalName(64)}
				}
				s := start(t, l, c)
				i := s.Info
				wantList(t, "live processes", rest(t, l), []int{i.Launcher}) // The dynamic linker is done.
				p, err := l.State(i.Launcher)
				if err != nil {
					t.Fatal(err)
				}

				switch way {
				case Job:
					want(t, "process group", p.PGID, i.Launcher)
				case Script:
					want(t, "process group", p.PGID, i.Leader)
				case Direct:
					want(t, "session leader", i.Leader, i.Launcher)
				}
				if way == Direct {
					want(t, "parent", p.PPID, l.Guardian())
				} else {
					want(t, "parent", p.PPID, i.Leader)
					leader := stat(t, l, i.Leader)
					want(t, "parent of the shell", leader.PPID, l.Guardian())
					want(t, "session of the shell", leader.SID, i.Leader)
					want(t, "process group of the shell", leader.PGID, i.Leader)
					want(t, "terminal of the shell", leader.TTY, i.TTY)
				}
				want(t, "session", p.SID, i.Leader)
				want(t, "foreground process group", foreground(t, i.Launcher), p.PGID)
				want(t, "controlling terminal", p.TTY, i.TTY)
				want(t, "umask", p.Umask, umask)
				want(t, "cwd", p.Cwd, i.Start)
				wantList(t, "ignored", p.Ignored, ignored)
				wantList(t, "blocked", p.Blocked, blocked)
				wantList(t, "caught", p.Caught, nil)

				numbers := []int{}
				p, err = proc.Read(i.Launcher) // The Lab's answer does not have all flags.
				if err != nil {
					t.Fatal(err)
				}
				for _, fd := range p.FDs {
					numbers = append(numbers, fd.FD)
					switch {
					case fd.FD >= 3:
						want(t, "held file", fd.Target, held)
					case pipe && fd.FD > 0:
						want(t, "pipe", File{fd.Dev, fd.Ino}, i.Pipes[fd.FD-1])
					default:
						want(t, "terminal", fd.Target, "/dev/"+i.TTY)
					}
					if fd.Flags&(syscall.O_NONBLOCK|syscall.O_CLOEXEC) != 0 {
						t.Errorf("descriptor %d has flags %#o: O_NONBLOCK or O_CLOEXEC", fd.FD, fd.Flags)
					}
				}
				wantList(t, "descriptors", numbers, []int{0, 1, 2, 9, 77})

				env := slices.DeleteFunc(os.Environ(), func(s string) bool {
					name, _, _ := strings.Cut(s, "=")
					return name == "HOME" || name == "TMPDIR" || name == "PWD"
				})
				env = append(env, "HOME=/elsewhere", "LAB_STRAY=a b", "TMPDIR="+i.TmpDir, "PWD="+i.Start)
				got := environ(t, i.Launcher)
				slices.Sort(env)
				slices.Sort(got)
				wantList(t, "environment", got, env)
				for _, dir := range []string{i.Start, i.TmpDir} {
					if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
						t.Errorf("%s is not an empty directory: %v, %v", dir, files, err)
					}
				}
				tmp, err := os.Stat(i.TmpDir)
				if err != nil || tmp.Mode() != os.ModeDir|os.ModeSticky|0o777 {
					t.Errorf("mode of TMPDIR: %v, %v", tmp.Mode(), err)
				}
			})
		}
	}
}

// What the Lab's own process has inherited, ignores or blocks does not reach the
// command.
func TestHostileSurroundings(t *testing.T) {
	t.Parallel()
	cmd := helper(t, role("role-hostile"))
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var list []proc.Process
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	want(t, "processes", len(list), len(ways))
	for i, p := range list {
		t.Run(string(ways[i]), func(t *testing.T) {
			want(t, "umask", p.Umask, 0o022)
			wantList(t, "ignored", p.Ignored, nil)
			wantList(t, "blocked", p.Blocked, nil)
			want(t, "descriptors", len(p.FDs), 3)
			for _, fd := range p.FDs {
				want(t, "descriptor", fd.Target, "/dev/"+p.TTY)
			}
		})
	}
}

// roleHostile prints what commands find that are started from a process with
// many signals ignored and blocked, stray descriptors and a umask of 0777. It is
// so from its start, and makes itself so.
func roleHostile(args []string) int {
	list, err := func() (list []*proc.Process, err error) {
		if len(args) == 0 {
			signal.Ignore() // all
		}
		var mask unix.Sigset_t
		for i := range mask.Val {
			mask.Val[i] = ^mask.Val[i]
		}
		runtime.LockOSThread()
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &mask, nil); err != nil {
			return nil, err
		}
		for _, fd := range []int{5, 50, 500} {
			if err := unix.Dup3(0, fd, 0); err != nil {
				return nil, err
			}
		}
		syscall.Umask(0o777)
		if len(args) == 0 {
			self := role("role-hostile", "again")
			return nil, syscall.Exec(self[0], self, os.Environ())
		}
		l, err := New(Options{})
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		for _, way := range ways {
			s, err := l.Start(Command{Args: sleep, Way: way})
			if err != nil {
				return nil, err
			}
			if _, err := l.Rest(long); err != nil {
				return nil, err
			}
			p, err := l.State(s.Info.Launcher)
			if err != nil {
				return nil, err
			}
			list = append(list, p)
		}
		return list, nil
	}()
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(list)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// When a job has ended, the shell has the terminal again.
func TestForegroundAfterwards(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: children("same", "session")})
	want(t, "exit", wait(t, s), Exit{})
	want(t, "foreground process group", foreground(t, s.Info.Leader), s.Info.Leader)
	pids := pidsIn(t, s)
	wantList(t, "live", rest(t, l), pids)
	same, other := stat(t, l, pids[0]), stat(t, l, pids[1])
	want(t, "parent", same.PPID, l.Guardian())
	want(t, "process group", same.PGID, s.Info.Launcher)
	want(t, "session", same.SID, s.Info.Leader)
	want(t, "terminal", same.TTY, s.Info.TTY)
	want(t, "parent", other.PPID, l.Guardian())
	want(t, "session", other.SID, other.PID)
	want(t, "terminal", other.TTY, "")
}

func TestDir(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	for _, way := range ways {
		s := start(t, l, Command{Args: sh("pwd; /bin/pwd"), Dir: "/usr", Way: way})
		want(t, "exit", wait(t, s), Exit{})
		want(t, "output", output(t, s), "/usr\n/usr\n")
	}
}

func TestOutput(t *testing.T) {
	const lines = 4000 // of 50 bytes: more than a pipe or a terminal holds
	script := fmt.Sprintf(`i=0; while [ $i -lt %d ]; do printf '%%049d\n' $i; i=$((i+1)); done; echo end >&2`, lines)
	var all strings.Builder
	for i := range lines {
		fmt.Fprintf(&all, "%049d\n", i)
	}
	for _, way := range []Way{Job, Direct} {
		for _, pipe := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,pipe=%v", way, pipe), func(t *testing.T) {
				t.Parallel()
				l := newLab(t, Options{})
				s := start(t, l, Command{Args: sh(script), Way: way, Pipe: pipe})
				want(t, "exit", wait(t, s), Exit{})
				out, stderr, err := s.Output()
				if err != nil {
					t.Fatal(err)
				}
				if pipe {
					want(t, "stderr", stderr, "end\n")
				} else {
					out = strings.TrimSuffix(out, "end\n")
				}
				if out != all.String() {
					t.Errorf("got %d bytes, want %d; or they differ", len(out), all.Len())
				}
				again, _, err := s.Output()
				if err != nil || len(again) < len(out) || strings.Contains(again, "lab") {
					t.Errorf("Output, called again, gives %d bytes (%v)", len(again), err)
				}
			})
		}
	}
}

// When Output returns, all that was written before is in it.
func TestOutputIsDone(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	for _, pipe := range []bool{false, true} {
		s := start(t, l, Command{Args: sleep, Pipe: pipe})
		path := fmt.Sprintf("/proc/%d/fd/1", s.Info.Launcher)
		out, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOCTTY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		for i := range 50 {
			fmt.Fprintf(out, "\n<%d>", i)
			if all := output(t, s); !strings.HasSuffix(all, fmt.Sprintf("\n<%d>", i)) {
				t.Fatalf("output %d, pipe=%v, ends %q", i, pipe, all[max(0, len(all)-20):])
			}
		}
	}
}

// Bytes that are no text come out as they are.
func TestOutputBytes(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	for _, pipe := range []bool{false, true} {
		s := start(t, l, Command{Args: sh(`printf '\377\000\033x'`), Pipe: pipe})
		want(t, "exit", wait(t, s), Exit{})
		want(t, "output", output(t, s), "\xff\x00\x1bx")
	}
}

// Output returns also when there is always more of it.
func TestEndlessOutput(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	for _, pipe := range []bool{false, true} {
		s := start(t, l, Command{Args: sh("cat /dev/zero & exec cat /dev/zero"), Pipe: pipe})
		for range 3 {
			output(t, s)
		}
		signal1(t, l, s.Info.Launcher, syscall.SIGKILL)
		want(t, "exit", wait(t, s), Exit{Signal: syscall.SIGKILL})
	}
}

func TestPipesEnded(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	for _, way := range ways {
		ended := func(s *Session) bool {
			t.Helper()
			ended, err := s.PipesEnded()
			if err != nil {
				t.Fatal(err)
			}
			return ended
		}
		s := start(t, l, Command{Args: children("session"), Way: way, Pipe: true})
		want(t, "exit", wait(t, s), Exit{})
		want(t, "ended with a daemon that holds them", ended(s), false)
		pid := pidsIn(t, s)[0]
		signal1(t, l, pid, syscall.SIGTERM)
		want(t, "exit", waitExit(t, l, pid), Exit{Signal: syscall.SIGTERM})
		want(t, "ended", ended(s), true)
		want(t, "ended", ended(s), true)

		// One of two is not enough.
		s = start(t, l, Command{Args: sh("exec sleep 1000 >/dev/null"), Way: way, Pipe: true})
		rest(t, l)
		want(t, "ended with standard error held", ended(s), false)
		if err := l.Clear(); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, l, Command{Args: sleep})
	_, err := s.PipesEnded()
	wantError(t, "PipesEnded without pipes", err, "no pipes")
}

func TestWaitOutput(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	for _, pipe := range []bool{false, true} {
		s := start(t, l, Command{Args: sh("echo ready; read x; echo got $x; exec sleep 1000"), Pipe: pipe})
		for _, text := range []string{"ready", "got it"} {
			if err := s.WaitOutput(text, long); err != nil {
				t.Fatal(err)
			}
			if text == "ready" {
				if err := s.Type("it\n"); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range 20 {
			err := s.WaitOutput("nothing", time.Millisecond)
			if !errors.Is(err, ErrTimeout) {
				t.Errorf("it is not ErrTimeout: %v", err)
			}
			wantError(t, "WaitOutput", err, `no "nothing" in the output after 1ms`, fmt.Sprintf("pid %d", s.Info.Launcher))
		}
		if err := s.Hangup(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWaitScreen(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: sh("echo 1 ready; read x; echo 2 ready; exec sleep 1000")})
	text, err := s.WaitScreen(0, `\d ready\n`, long)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "text", text, "1 ready\n")
	if err := s.Type("\n"); err != nil {
		t.Fatal(err)
	}
	text, err = s.WaitScreen(len(text), `\d ready\n`, long)
	if err != nil {
		t.Fatal(err)
	}
	want(t, "text", text, "1 ready\n\n2 ready\n")
	_, err = s.WaitScreen(len(text), "ready", time.Millisecond)
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("it is not ErrTimeout: %v", err)
	}
	wantError(t, "WaitScreen", err, `nothing like "ready"`)
	_, err = s.WaitScreen(0, "(", long)
	wantError(t, "WaitScreen", err, "missing closing")
}

func TestStopReading(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: []string{"/usr/bin/yes"}, Pipe: true})
	if err := s.WaitOutput("y", long); err != nil {
		t.Fatal(err)
	}
	if err := s.StopReading(); err != nil {
		t.Fatal(err)
	}
	want(t, "exit", wait(t, s), Exit{Signal: syscall.SIGPIPE})
}

func TestCannotStart(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	file := filepath.Join(l.Place(), "file")
	if err := os.WriteFile(file, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, way := range []Way{Job, Direct} {
		for _, c := range []struct {
			command Command
			says    []string
		}{
			{Command{}, []string{"no command given"}},
			{Command{Args: []string{"/no/such/file"}}, []string{"/no/such/file", "no such file or directory"}},
			{Command{Args: []string{file}}, []string{file, "permission denied"}},
			{Command{Args: []string{"/"}}, []string{"start /", "permission denied"}},
			{Command{Args: sleep, Dir: "/no/such/dir"}, []string{"start /bin/sleep", "no such file or directory"}},
			{Command{Args: sleep, Dir: file}, []string{"start /bin/sleep", "not a directory"}},
			{Command{Args: sleep, Hold: map[int]string{9: "/no/such/file"}}, []string{"hold descriptor 9", "/no/such/file"}},
			{Command{Args: sleep, Hold: map[int]string{2: file}}, []string{"hold descriptor 2", "3 or above"}},
		} {
			c.command.Way = way
			s, err := l.Start(c.command)
			if s != nil {
				t.Errorf("%v: there is a session", c.command)
			}
			wantError(t, fmt.Sprint(c.command), err, c.says...)
			wantList(t, "live", rest(t, l), nil)
			if ended, err := l.Ended(); err != nil || len(ended) > 0 {
				t.Errorf("%v: ended: %v, %v", c.command, ended, err)
			}
		}
	}
	// It goes on with the next.
	want(t, "exit", wait(t, start(t, l, Command{Args: sh("exit 7")})), Exit{Status: 7})
	if _, err := l.Start(Command{Args: sleep, Way: "no way"}); err == nil {
		t.Error("there is no such way, and no error")
	}
}

// A FIFO without a writer, held open, does not make the start hang.
func TestHoldFIFO(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	fifo := filepath.Join(l.Place(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, way := range ways {
		s := start(t, l, Command{Args: sleep, Way: way, Hold: map[int]string{9: fifo}})
		p, err := proc.Read(s.Info.Launcher)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(p.FDs, func(fd proc.FD) bool { return fd.FD == 9 })
		if i < 0 || p.FDs[i].Target != fifo || p.FDs[i].Flags&syscall.O_NONBLOCK != 0 {
			t.Errorf("%s: descriptor 9 is not %s, or O_NONBLOCK: %+v", way, fifo, p.FDs)
		}
	}
}

// No slice of a State is nil, although it has come through a connection.
func TestState(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: sleep})
	rest(t, l) // It has its arguments a moment after Start returns: see proc.Process.
	p, err := l.State(s.Info.Launcher)
	if err != nil {
		t.Fatal(err)
	}
	if p.Children == nil || p.Blocked == nil || p.Ignored == nil || p.Caught == nil || p.Groups == nil {
		t.Errorf("a slice is nil: %#v", p)
	}
	wantList(t, "command line", p.Cmdline, sleep)

	signal1(t, l, s.Info.Launcher, syscall.SIGTERM)
	wait(t, s) // The shell has reaped it.
	if _, err := l.State(s.Info.Launcher); !errors.Is(err, proc.ErrGone) {
		t.Errorf("state of a process that is gone: %v", err)
	}
	if p, err := l.State(1 << 30); p == nil || !errors.Is(err, proc.ErrGone) {
		t.Errorf("state of a process that never was: %v, %v", p, err)
	}
	if _, err := l.Stat(1 << 30); err == nil {
		t.Error("stat of a process that never was: no error")
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	info, err := os.Stat(l.Place())
	if err != nil || !filepath.IsAbs(l.Place()) || info.Mode() != os.ModeDir|0o755 {
		t.Errorf("place: %s, %v, %v", l.Place(), info, err)
	}
	pidfd := pidfdOf(t, l.Guardian())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ends(t, "the guardian", pidfd)
	if _, err := os.Lstat(l.Place()); !os.IsNotExist(err) {
		t.Errorf("the place is still there: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error("close again:", err)
	}
	for name, call := range map[string]func() error{
		"Clear":  l.Clear,
		"Start":  func() error { _, err := l.Start(Command{Args: sleep}); return err },
		"Rest":   func() error { _, err := l.Rest(time.Hour); return err },
		"Live":   func() error { _, err := l.Live(); return err },
		"Ended":  func() error { _, err := l.Ended(); return err },
		"Signal": func() error { return l.Signal(1, 0) },
	} {
		wantError(t, name+" after Close", call())
	}
}

// A TMPDIR in which no place can be made is an error that says so.
func TestNoPlace(t *testing.T) {
	t.Parallel()
	for _, init := range []string{"", "init"} {
		cmd := helper(t, role("role-lab", "new", init))
		cmd.Env = append(os.Environ(), "TMPDIR=/no/such/dir")
		cmd.Stderr = nil
		text, err := cmd.CombinedOutput()
		if strings.Contains(string(text), ErrNoNamespace.Error()) {
			continue // TestInit says why.
		}
		if err == nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "/no/such/dir") {
			t.Errorf("%v: it says %q, not one line about /no/such/dir", err, text)
		}
	}
}

// A relative TMPDIR leads to an absolute place.
func TestRelativePlace(t *testing.T) {
	t.Parallel()
	cmd := helper(t, role("role-lab", "new", ""))
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR=.")
	text, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(text), cmd.Dir) {
		t.Errorf("%v: the place is %s, not below %s", err, text, cmd.Dir)
	}
}
