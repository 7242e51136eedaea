//go:build linux

package daemonsteps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"daemonsteps/internal/lab"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func init() {
	verbs["about"] = about
	verbs["served"] = served
	verbs["terminal"] = terminal
	verbs["typethere"] = typeThere
}

// about says whom the next commands are about: the launcher, the child of whom they were
// about before, or the one orphan, which may have ended.
func about(ts *testscript.TestScript, neg bool, args []string) {
	st := started(ts)
	switch {
	case len(args) == 1 && args[0] == "launcher" && !neg:
		st.daemon = st.session.Info.Launcher
	case len(args) == 1 && args[0] == "child" && !neg:
		live, err := st.lab.Rest(deadline)
		ts.Check(err)
		var children []int
		for _, pid := range live {
			p, err := st.lab.Stat(pid)
			ts.Check(err)
			if p.PPID == st.daemon {
				children = append(children, pid)
			}
		}
		if len(children) != 1 {
			ts.Fatalf("process %d has the children %v, and not one", st.daemon, children)
		}
		st.daemon = children[0]
	case len(args) == 1 && args[0] == "orphan" && !neg:
		_, err := st.lab.Rest(deadline)
		ts.Check(err)
		orphans, err := st.lab.Adopted()
		ts.Check(err)
		dead, err := st.lab.Ended()
		ts.Check(err)
		for _, d := range dead {
			orphans = append(orphans, d.PID)
		}
		if len(orphans) != 1 {
			ts.Fatalf("the orphans are %v, and not one", orphans)
		}
		st.daemon = orphans[0]
	default:
		ts.Fatalf("usage: about launcher|child|orphan")
	}
}

// served says what is served on the daemon's socket: one line that matches. With "!"
// nobody must be there.
func served(ts *testscript.TestScript, neg bool, args []string) {
	// The name is not waited for: that there is none is what a client would see.
	sockets, _ := filepath.Glob(filepath.Join(started(ts).session.Info.TmpDir, "daemonsteps-*", "status"))
	if len(args) > 2 && args[0] == "-dir" {
		sockets = []string{filepath.Join(ts.MkAbs(args[1]), "status")}
		args = args[2:]
	}
	if len(args) != 1 && !neg || len(args) != 0 && neg {
		ts.Fatalf("usage: served [-dir DIR] PATTERN, or ! served")
	}
	text, err := askStatus(sockets)
	if neg {
		if err == nil {
			ts.Fatalf("served: %q", text)
		}
		return
	}
	ts.Check(err)
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	if !re.MatchString(text) {
		ts.Fatalf("served: %q", text)
	}
}

// askStatus connects to the first of these sockets, and reads what is told there.
func askStatus(sockets []string) (string, error) {
	if len(sockets) == 0 {
		return "", errors.New("there is no socket")
	}
	conn, err := net.Dial("unix", sockets[0])
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(deadline))
	text, err := io.ReadAll(conn)
	return string(text), err
}

// terminals are those that scenarios have opened, each besides its daemon's.
var terminals sync.Map // of *stage to *os.File, the master

// terminal opens a terminal that belongs to no session, as one at which nobody is logged
// in, and has a symbolic link lead to it.
func terminal(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: terminal LINK")
	}
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	ts.Check(err)
	master := os.NewFile(uintptr(fd), "/dev/ptmx")
	ts.Defer(func() { master.Close() })
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	ts.Check(err)
	ts.Check(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	// It stays open here, as a terminal's own line does.
	line, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	ts.Check(err)
	ts.Defer(func() { line.Close() })
	ts.Check(os.Chmod(line.Name(), 0o666)) // whoever is to open it
	os.Remove(ts.MkAbs(args[0]))
	ts.Check(os.Symlink(line.Name(), ts.MkAbs(args[0])))
	terminals.Store(stageOf(ts), master)
}

// typeThere types ^C on that terminal, and returns when it has been shown there: its
// signal has been sent then.
func typeThere(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || args[0] != "^C" || neg {
		ts.Fatalf("usage: typethere ^C")
	}
	master, ok := terminals.Load(stageOf(ts))
	if !ok {
		ts.Fatalf("there is no other terminal")
	}
	f := master.(*os.File)
	_, err := f.WriteString("\x03")
	ts.Check(err)
	ts.Check(f.SetReadDeadline(time.Now().Add(deadline)))
	var shown []byte
	for more := make([]byte, 100); !bytes.Contains(shown, []byte("^C")); {
		n, err := f.Read(more)
		ts.Check(err)
		shown = append(shown, more[:n]...)
	}
}

// TestServedAtReturn starts daemons, and connects to each as soon as its launcher has
// returned: 1,000 of 1,000 answer (-storm), or all of a few.
func TestServedAtReturn(t *testing.T) {
	for step, n := range map[string]int{"09-ready": 30, "10-refork": 10, "11-privileges": 10} {
		if *storm {
			n = 1000
		}
		bin := program(step)
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			served := 0
			for range n {
				if err := serveOnce(bin); err != nil {
					t.Error(err)
				} else {
					served++
				}
			}
			t.Logf("served at return: %d of %d", served, n)
		})
	}
}

// serveOnce starts a daemon, asks it for its status at once, and ends it. The daemon is
// an orphan, and so our child: this process is a subreaper, as TestMain has made it.
func serveOnce(bin string) (err error) {
	tmp, err := os.MkdirTemp("", "storm-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp)) }() // It must be empty.
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	var stdout, stderr bytes.Buffer
	launcher := exec.CommandContext(ctx, bin, "-every", "1h")
	launcher.Env = append(os.Environ(), "TMPDIR="+tmp)
	launcher.Stdout, launcher.Stderr = &stdout, &stderr
	failed := launcher.Run()
	sockets, _ := filepath.Glob(filepath.Join(tmp, "daemonsteps-*", "status"))
	text, refused := askStatus(sockets)
	if failed != nil {
		return fmt.Errorf("%w: %s", failed, &stderr)
	}
	var pid int
	if _, err := fmt.Sscanf(stdout.String(), "pid %d\n", &pid); err != nil {
		return fmt.Errorf("the launcher said %q: %w", &stdout, err)
	}
	daemon, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("pid %d: started 0\n", pid); refused == nil && text != want {
		refused = fmt.Errorf("told %q, not %q", text, want)
	}
	overdue := time.AfterFunc(deadline, func() { daemon.Kill() })
	defer overdue.Stop()
	asked := daemon.Signal(unix.SIGTERM)
	state, err := daemon.Wait()
	if err == nil && !state.Success() {
		err = fmt.Errorf("the daemon ended with %v", state)
	}
	return errors.Join(refused, asked, err)
}

// A call is a system call of the daemon's start: the Nth of that name.
type call struct {
	name string
	n    int
}

// unsteady are calls by which the Go runtime starts threads, lets them wait, and has
// memory. How many there are differs a little from start to start, and nobody outside of
// the process sees anything of them: one may not be reached. Those of futex(2) differ so
// much that they are left out.
var unsteady = []string{"futex", "mmap", "madvise", "clone", "clone3", "rt_sigprocmask", "sched_yield", "nanosleep"}

// readyLine is how strace shows the call that says that the daemon is ready.
const readyLine = `write(3, "\n", 1)`

// TestKilledAtEachCall kills the daemon at each system call of its start, up to the one
// that says that it is ready: with -storm at all, otherwise at some. The launcher must
// then say something, and fail, and nothing may be left.
//
// It is strace(1) that kills, with -e inject. It counts the calls of each name for each
// thread. So the program is one whose main goroutine stays on the first thread: its calls
// are then always the same, but for some of the runtime's own. And it is strace that the
// launcher starts in place of the program, and that becomes the daemon (strace -D); the
// launcher itself is not traced.
func TestKilledAtEachCall(t *testing.T) {
	if err := exec.Command("strace", "-D", "-qq", "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("strace(1) has to trace the daemon, and cannot: %v", err)
	}
	for _, step := range []string{"09-ready", "10-refork"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			bin, err := tracedProgram(t, step)
			if err != nil {
				t.Fatal(err)
			}
			calls, after := startCalls(t, bin)
			if len(calls) < 100 {
				t.Fatalf("only %d system calls until the daemon is ready: %v", len(calls), calls)
			}
			points := slices.DeleteFunc(slices.Clone(calls), func(c call) bool { return c.name == "futex" })
			if !*storm { // The first, the last, and some between them.
				all := slices.DeleteFunc(points, func(c call) bool { return slices.Contains(unsteady, c.name) })
				points = nil
				for i := range 8 {
					points = append(points, all[i*(len(all)-1)/7])
				}
			}
			var missed []call
			queue := make(chan call)
			var workers sync.WaitGroup
			var mu sync.Mutex
			for range runtime.GOMAXPROCS(0) {
				workers.Add(1)
				go func() {
					defer workers.Done()
					k := newKiller(t, bin)
					for c := range queue {
						hit, err := k.kill(c)
						mu.Lock()
						switch {
						case err != nil:
							t.Errorf("killed at %s, number %d: %v", c.name, c.n, err)
						case !hit:
							missed = append(missed, c)
						}
						mu.Unlock()
					}
				}()
			}
			for _, c := range points {
				queue <- c
			}
			close(queue)
			workers.Wait()
			t.Logf("killed at %d of %d system calls; the first is %v, the last %v; not reached this time: %v",
				len(points)-len(missed), len(calls), calls[0], calls[len(calls)-1], missed)
			for _, c := range missed {
				if !slices.Contains(unsteady, c.name) {
					t.Errorf("%s, number %d, was not reached", c.name, c.n)
				}
			}
			// One call later it was ready, and the launcher has its answer.
			k := newKiller(t, bin)
			if _, err := k.kill(after); err == nil || !strings.Contains(err.Error(), "the launcher ended with exit status 0") {
				t.Errorf("killed after it was ready, at %v: %v", after, err)
			}
		})
	}
}

// tracedProgram builds a step whose launcher starts $TRACED instead of itself, and whose
// main goroutine stays on the first thread.
func tracedProgram(t *testing.T, step string) (string, error) {
	replace := map[string]string{}
	for _, edit := range [][3]string{
		{"launch.go", "os.Executable()", `os.Getenv("TRACED"), error(nil)`},
		{"main.go", "func main() {", "func init() { runtime.LockOSThread() }\n\nfunc main() {"},
		{"main.go", "import (", "import (\n\t\"runtime\""},
	} {
		path := filepath.Join(repo(), "steps", step, edit[0])
		at := replace[path]
		if at == "" {
			at = path
		}
		text, err := os.ReadFile(at)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), edit[1]); n != 1 {
			return "", fmt.Errorf("%s has %q %d times, not once", path, edit[1], n)
		}
		replace[path] = filepath.Join(t.TempDir(), edit[0])
		err = os.WriteFile(replace[path], []byte(strings.Replace(string(text), edit[1], edit[2], 1)), 0o666)
		if err != nil {
			return "", err
		}
	}
	return build(step, replace)
}

// quiet keeps the runtime from interrupting threads, which would make more calls.
const quiet = "GODEBUG=asyncpreemptoff=1"

var callName = regexp.MustCompile(`(?m)^(\w+)\(`)

// calls returns the system calls of a trace, each with its number among those of its name.
func calls(trace string) (list []call) {
	count := map[string]int{}
	for _, m := range callName.FindAllStringSubmatch(trace, -1) {
		count[m[1]]++
		list = append(list, call{m[1], count[m[1]]})
	}
	return list
}

// startCalls returns the system calls of a daemon, from the first after its execve(2)
// to the write(2) that says that it is ready, and the close(2) after that.
func startCalls(t *testing.T, bin string) (before []call, after call) {
	t.Helper()
	dir := t.TempDir()
	ready, its, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	trace := filepath.Join(dir, "trace")
	// As the launcher starts it. Here strace is its parent, and ends as it does.
	cmd := exec.Command("strace", "-q", "-o", trace, bin, "-dir", filepath.Join(dir, "own"), "-log", filepath.Join(dir, "own", "log"),
		"-foreground", "-every", "1h", "-pidfile", filepath.Join(dir, "pid"), "-ready", "3")
	if err := os.Mkdir(filepath.Join(dir, "own"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), quiet)
	// nohup(1) may have started us. A daemon that finds a signal ignored makes one call
	// more, and a lab's finds none. What is handled here it finds at its default. To ask
	// signal.Ignored is not enough: it says no once somebody has handled the signal.
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT)
	cmd.ExtraFiles = []*os.File{its}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	its.Close()
	ready.SetReadDeadline(time.Now().Add(deadline))
	line := make([]byte, 1)
	_, err = io.ReadFull(ready, line)
	text, _ := os.ReadFile(filepath.Join(dir, "pid"))
	var pid int
	fmt.Sscan(string(text), &pid)
	if err != nil || pid <= 0 {
		cmd.Process.Kill()
		cmd.Wait()
		t.Fatalf("the traced daemon, process %d, did not get ready: %v", pid, err)
	}
	// The pid is the daemon's: strace, its parent, ends when it has waited for it.
	unix.Kill(pid, unix.SIGTERM)
	overdue := time.AfterFunc(deadline, func() { unix.Kill(pid, unix.SIGKILL) })
	defer overdue.Stop()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(text), readyLine)
	before = calls(head + readyLine)
	rest := calls(string(text))[len(before):]
	next := slices.IndexFunc(rest, func(c call) bool { return c.name == "close" })
	if !ok || next < 0 || before[0] != (call{"execve", 1}) {
		t.Fatalf("not the whole of a start:\n%s", text)
	}
	return before[1:], rest[next] // strace cannot have it killed at the first.
}

// A killer starts daemons, and kills each on its way.
type killer struct {
	bin, dir string
	lab      *lab.Lab
}

func newKiller(t *testing.T, bin string) *killer {
	l, err := lab.New(lab.Options{})
	if err != nil {
		t.Error(err)
		return nil
	}
	k := &killer{bin: bin, dir: t.TempDir(), lab: l}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	wrapper := "#!/bin/sh\nexec strace -D -q -o \"$TRACE\" -e inject=\"$INJECT\" \"$PROGRAM\" \"$@\"\n"
	if err := os.WriteFile(filepath.Join(k.dir, "traced"), []byte(wrapper), 0o777); err != nil {
		t.Error(err)
	}
	return k
}

// kill has the daemon killed as it enters a call, and returns whether it came there. The
// error says what was wrong with what the launcher did then, or what was left.
func (k *killer) kill(c call) (hit bool, err error) {
	trace, pid := filepath.Join(k.dir, "trace"), filepath.Join(k.dir, "pid")
	os.Remove(trace)
	os.Remove(pid)
	s, err := k.lab.Start(lab.Command{
		Args: []string{k.bin, "-every", "1h", "-pidfile", pid},
		Pipe: true,
		Env: map[string]string{
			"TRACED": filepath.Join(k.dir, "traced"), "PROGRAM": k.bin, "TRACE": trace,
			"INJECT": fmt.Sprintf("%s:signal=KILL:when=%d", c.name, c.n), "GODEBUG": strings.TrimPrefix(quiet, "GODEBUG="),
		},
	})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, k.lab.Clear()) }()
	exit, err := s.Wait(deadline)
	if err != nil {
		return false, err
	}
	live, err := k.lab.Rest(deadline)
	if err != nil {
		return false, err
	}
	_, said, err := s.Output()
	if err != nil {
		return false, err
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		return false, fmt.Errorf("%w; the launcher said %q", err, said)
	}
	all := calls(string(text))
	hit = len(all) > 0 && all[len(all)-1] == c && strings.HasSuffix(string(text), "+++ killed by SIGKILL +++\n")
	if strings.Contains(string(text), readyLine+" ") && slices.Contains(unsteady, c.name) {
		return false, nil // It was ready before it came there.
	}
	if exit.Signal != 0 || exit.Status == 0 {
		err = errors.Join(err, fmt.Errorf("the launcher ended with %v", exit))
	}
	if name := filepath.Base(k.bin); !strings.HasPrefix(said, name+": ") {
		err = errors.Join(err, fmt.Errorf("the launcher said %q", said))
	}
	if len(live) > 0 {
		err = errors.Join(err, fmt.Errorf("these processes are left: %v", live))
	}
	files, ferr := os.ReadDir(s.Info.TmpDir)
	if len(files) > 0 || ferr != nil {
		err = errors.Join(err, ferr, fmt.Errorf("these files are left: %v", files))
	}
	if text, ferr := os.ReadFile(pid); len(text) > 0 || ferr != nil && !errors.Is(ferr, os.ErrNotExist) {
		err = errors.Join(err, ferr, fmt.Errorf("the PID file names %q", text))
	}
	return hit, err
}
