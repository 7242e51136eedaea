//go:build linux

package daemonsteps

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"daemonsteps/internal/lab"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// The verbs about a second start. testdata/README.md says what each does.
func init() {
	verbs["beside"] = beside
	verbs["returned"] = returned
	verbs["locked"] = locked
	verbs["names"] = names
	verbs["live"] = live
}

// beside starts another command beside what runs already, and waits until it has
// returned. The daemon is still the first one's.
func beside(ts *testscript.TestScript, neg bool, args []string) {
	st := started(ts)
	if len(args) == 0 {
		ts.Fatalf("usage: beside COMMAND [ARG…]")
	}
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	s, err := st.lab.Start(lab.Command{Args: append([]string{path}, args[1:]...), Pipe: true})
	ts.Check(err)
	st.exit, err = s.Wait(deadline)
	ts.Check(err)
	out, stderr, err := s.Output()
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), out)
	fmt.Fprint(ts.Stderr(), stderr)
	if st.exit.OK() == neg {
		ts.Fatalf("the command ended with %v", st.exit)
	}
}

// returned says how the last command that was started has ended.
func returned(ts *testscript.TestScript, neg bool, args []string) {
	st := started(ts)
	if want := strings.Join(args, " "); (st.exit.String() == want) == neg {
		ts.Fatalf("the command ended with %v", st.exit)
	}
}

// locked says which process holds the record lock on a file: the kernel tells.
func locked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: locked FILE THING, or locked FILE nobody")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	ts.Check(unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock))
	holder := "nobody"
	if lock.Type != unix.F_UNLCK {
		holder = strconv.Itoa(int(lock.Pid))
	}
	if want := thing(ts, args[1]); holder != want {
		ts.Fatalf("%s is locked by %s, and not by %s", args[0], holder, want)
	}
}

// names says that a file holds the pid of a process, and a line's end, and nothing
// else; or nothing.
func names(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: names FILE THING, or names FILE nobody")
	}
	want := thing(ts, args[1]) + "\n"
	if args[1] == "nobody" {
		want = ""
	}
	if text := ts.ReadFile(args[0]); (text == want) == neg {
		ts.Fatalf("%s has %q, and not %q", args[0], text, want)
	}
}

// live says how many processes live, when all is at rest.
func live(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: live NUMBER")
	}
	pids, err := started(ts).lab.Rest(deadline)
	ts.Check(err)
	if strconv.Itoa(len(pids)) != args[0] {
		ts.Fatalf("these live: %v", pids)
	}
}

// oneDaemonSteps are the steps that promise that one daemon runs at a time.
func oneDaemonSteps() []string { return steps()[7:11] }

// An edit replaces some text of a file, which has to be in it once.
type edit struct{ file, from, to string }

// witnessed builds a step that would tell if two daemons ran, with other edits. It locks
// a second file for as long as it holds the PID file: if that fails, another still runs,
// and there will be a file FILE.two. The second file has the lower descriptor, so the
// kernel unlocks it first when the process ends; nobody removes it; and what the step
// does with its PID file does not concern it. So nothing is missed, and nothing is seen
// that was not.
func witnessed(t *testing.T, step string, edits ...edit) string {
	t.Helper()
	const lock = "	if err := lockPIDFile(c); err != nil {\n		return err\n	}\n"
	edits = append(edits, edit{"daemon.go", lock, `
	witness, err := syscall.Open(string(c.pid)+".witness", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
` + lock + `
	if syscall.FcntlFlock(uintptr(witness), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}) != nil {
		os.WriteFile(string(c.pid)+".two", nil, 0o600)
	}
`})
	dir := t.TempDir()
	replace := map[string]string{}
	for _, e := range edits {
		path := filepath.Join(repo(), "steps", step, e.file)
		from := path
		if replace[path] != "" {
			from = replace[path]
		}
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), e.from); n != 1 {
			t.Fatalf("%s has %q %d times, not once", path, e.from, n)
		}
		replace[path] = filepath.Join(dir, e.file)
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(text), e.from, e.to, 1)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	bin, err := build(step, replace)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// A pidStorm is a place for many starts with one PID file. What is found to be wrong is
// collected: TestPIDFileStormBites wants it.
type pidStorm struct {
	t        *testing.T
	lab      *lab.Lab
	bin      string
	dir, pid string
	tracer   []string // runs the scripts, if given
	scripts  int      // so far
	wrong    []string
}

func newPIDStorm(t *testing.T, bin string) *pidStorm {
	l, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	s := &pidStorm{t: t, lab: l, bin: bin, dir: dir, pid: filepath.Join(dir, "pid")}
	s.check(os.WriteFile(s.pid+".witness", nil, 0o600))
	return s
}

func (s *pidStorm) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *pidStorm) errorf(format string, args ...any) {
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// A startResult is how one command of a script went.
type startResult struct {
	status    int
	out, err_ string
}

// run runs a shell script, with the program as $0, the PID file as $1, and args behind
// that. It returns how the commands went that the script has run with its function
// result NAME COMMAND.
func (s *pidStorm) run(script string, args ...string) map[string]startResult {
	s.t.Helper()
	s.scripts++
	place := filepath.Join(s.dir, fmt.Sprint(s.scripts))
	s.check(os.Mkdir(place, 0o700))
	script = `result() { n=$1; shift; "$@" >out.$n 2>err.$n; echo $? >status.$n; }; ` + script
	if filepath.Base(s.bin) >= "09" { // Among 200 starts one may have to wait for long.
		script = `patience='-wait 10m'; ` + script
	}
	session, err := s.lab.Start(lab.Command{Way: lab.Script, Dir: place,
		Args: slices.Concat(s.tracer, []string{"/bin/sh", "-c", script, s.bin, s.pid}, args)})
	s.check(err)
	limit := deadline
	if *storm { // It is one command.
		limit = 30 * deadline
	}
	exit, err := session.Wait(limit)
	s.check(err)
	if out, _, err := session.Output(); err != nil || out != "" || !exit.OK() {
		s.t.Fatalf("the script ended with %v and said %q (%v)", exit, out, err)
	}
	results := map[string]startResult{}
	files, _ := filepath.Glob(filepath.Join(place, "status.*"))
	for _, file := range files {
		name := strings.TrimPrefix(filepath.Base(file), "status.")
		status, err1 := os.ReadFile(file)
		out, err2 := os.ReadFile(filepath.Join(place, "out."+name))
		stderr, err3 := os.ReadFile(filepath.Join(place, "err."+name))
		n, err4 := strconv.Atoi(strings.TrimSpace(string(status)))
		s.check(errors.Join(err1, err2, err3, err4))
		results[name] = startResult{n, string(out), string(stderr)}
	}
	return results
}

var (
	saidPID     = regexp.MustCompile(`^pid (\d+)\n$`)
	runsAlready = regexp.MustCompile(`: the daemon runs already, as process (\d+): it holds (\S+)\n$`)
	hasEnded    = regexp.MustCompile(`^process (\d+) has ended\n$`)
)

// named returns the pid that a text names, or 0.
func named(re *regexp.Regexp, text string) int {
	if m := re.FindStringSubmatch(text); m != nil {
		pid, _ := strconv.Atoi(m[1])
		return pid
	}
	return 0
}

// stop stops the daemon, which has to be this one.
func (s *pidStorm) stop(daemon int) {
	s.t.Helper()
	r := s.run(`result stop "$0" -stop -pidfile "$1"`)["stop"]
	if r.status != 0 || named(hasEnded, r.out) != daemon || r.err_ != "" {
		s.errorf("-stop of process %d ended with status %d and said %q %q", daemon, r.status, r.out, r.err_)
	}
}

// holder returns the pid of the process that holds the PID file, or 0.
func (s *pidStorm) holder() int {
	s.t.Helper()
	f, err := os.OpenFile(s.pid, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	s.check(err)
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	s.check(unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock))
	if lock.Type == unix.F_UNLCK {
		return 0
	}
	return int(lock.Pid)
}

// rest waits until all are at rest, and returns who lives.
func (s *pidStorm) rest() []int {
	s.t.Helper()
	pids, err := s.lab.Rest(deadline)
	s.check(err)
	return pids
}

// runs says that this daemon runs, holds the file and is named by it, and that nobody
// else lives.
func (s *pidStorm) runs(daemon int) {
	s.t.Helper()
	if pids := s.rest(); !slices.Equal(pids, []int{daemon}) {
		s.errorf("process %d has won, and these live: %v", daemon, pids)
	}
	if holder := s.holder(); holder != daemon {
		s.errorf("process %d has won, and %d holds the PID file", daemon, holder)
	}
	if text, err := os.ReadFile(s.pid); err != nil || string(text) != fmt.Sprintln(daemon) {
		s.errorf("process %d has won, and the PID file has %q (%v)", daemon, text, err)
	}
}

// over says that nobody lives any more, and that at no moment two daemons ran.
func (s *pidStorm) over() {
	s.t.Helper()
	if pids := s.rest(); len(pids) > 0 {
		s.errorf("these still live: %v", pids)
	}
	if _, err := os.Lstat(s.pid + ".two"); err == nil {
		s.errorf("two daemons ran at the same time")
	}
}

var logsStart = regexp.MustCompile(`(?m) msg=started .*\bpid=(\d+)`)

// started says of each pid how often a daemon has logged that it started with it: among
// so many processes pids come again (pid_max, proc_sys_kernel(5)).
func (s *pidStorm) started() map[int]int {
	s.t.Helper()
	text, err := os.ReadFile(s.pid + ".log")
	s.check(err)
	pids := map[int]int{}
	for _, m := range logsStart.FindAllStringSubmatch(string(text), -1) {
		pids[named(logsStart, m[0])]++
	}
	return pids
}

// watch reads the PID file whenever inotify(7) tells that it has changed, until the
// function that it returns is called. That says of every text found that it is the pid
// of one of these daemons.
func (s *pidStorm) watch() func(daemons map[int]int) {
	s.t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	s.check(err)
	events := os.NewFile(uintptr(fd), "inotify")
	_, err = unix.InotifyAddWatch(fd, s.dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVED_TO)
	s.check(err)
	found := map[string]bool{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buffer := make([]byte, 4096); ; {
			_, ended := events.Read(buffer)
			if text, err := os.ReadFile(s.pid); err == nil {
				found[string(text)] = true
			}
			if ended != nil {
				return
			}
		}
	}()
	end := sync.OnceFunc(func() {
		events.SetReadDeadline(time.Now())
		<-done
		events.Close()
	})
	s.t.Cleanup(end)
	return func(daemons map[int]int) {
		end()
		for text := range found {
			pid, _ := strconv.Atoi(strings.TrimSuffix(text, "\n"))
			if text != "" && (daemons[pid] == 0 || text != fmt.Sprintln(pid)) {
				s.errorf("the PID file had %q in it, and these were daemons: %v", text, daemons)
			}
		}
	}
}

// atOnce is a script of $2 starts at once. All wait at the gate, which opens when the
// last has come there: until then each has it open for writing, too.
const atOnce = `mkfifo gate; exec 3<>gate; i=0
while [ $i -lt $2 ]; do
	{ read go; result $i "$0" -pidfile "$1" -log "$1.log" -every 1h $patience; } <gate 3>&- &
	i=$((i+1))
done
exec 3>&-; wait`

// storm starts many daemons at once, again and again, and returns what was wrong. Each
// time one has to win, and all others have to say so.
func (s *pidStorm) storm(starts, rounds int) []string {
	s.t.Helper()
	found := s.watch()
	winners := map[int]int{}
	for round := 0; round < rounds && len(s.wrong) == 0; round++ {
		results := s.run(atOnce, strconv.Itoa(starts))
		if len(results) != starts {
			s.errorf("%d of %d starts have ended", len(results), starts)
		}
		winner, won := 0, 0
		for _, r := range results {
			if r.status == 0 {
				won++
				winner = named(saidPID, r.out)
			}
		}
		winners[winner]++
		if won != 1 {
			s.errorf("of %d starts %d have won", starts, won)
			break
		}
		for _, r := range results {
			if m := runsAlready.FindStringSubmatch(r.err_); r.status != 0 && (r.status != 1 || r.out != "" ||
				m == nil || m[1] != strconv.Itoa(winner) || m[2] != s.pid || strings.Count(r.err_, "\n") != 1) {
				s.errorf("process %d has won, and a loser ended with status %d and said %q %q", winner, r.status, r.out, r.err_)
			}
		}
		s.runs(winner)
		if round%2 == 0 { // It leaves a file that names it.
			s.check(s.lab.Signal(winner, unix.SIGKILL))
			_, err := s.lab.WaitExit(winner, deadline)
			s.check(err)
		} else { // The file is empty for the next.
			s.stop(winner)
		}
		s.over()
	}
	found(winners)
	if ran := s.started(); !maps.Equal(ran, winners) {
		s.errorf("these have won: %v, and these have run: %v", winners, ran)
	}
	return s.wrong
}

// relay is a script of $2 loops that each start daemons until $3 of theirs have won,
// and one that stops whoever runs, until they are done.
const relay = `i=0 loops=
while [ $i -lt $2 ]; do
	(j=0 won=0; while [ $won -lt $3 ]; do
		result $i-$j "$0" -pidfile "$1" -log "$1.log" -every 1h $patience
		read status <status.$i-$j; [ $status -ne 0 ] || won=$((won+1)); j=$((j+1))
	done) &
	i=$((i+1)) loops="$loops $!"
done
(j=0; until test -e done; do result stop-$j "$0" -stop -pidfile "$1"; j=$((j+1)); done) &
wait $loops; : >done; wait`

// relay starts daemons while others end, and returns what was wrong. Nobody may run
// before the last has ended, and whoever is named has to be a daemon.
func (s *pidStorm) relay(loops, wins int) []string {
	s.t.Helper()
	s.check(os.WriteFile(s.pid, nil, 0o600)) // so that the first -stop finds one
	found := s.watch()
	results := s.run(relay, strconv.Itoa(loops), strconv.Itoa(wins))
	if last := s.holder(); last != 0 {
		s.stop(last)
	}
	s.over()
	daemons := s.started()
	stopped, stops := map[int]int{}, 0
	for name, r := range results {
		pid := 0
		switch {
		case r.status == 0 && strings.HasPrefix(name, "stop"):
			pid = named(hasEnded, r.out)
			stops++
			if stopped[pid]++; stopped[pid] > daemons[pid] {
				s.errorf("%d -stop say that they have ended process %d, and it was a daemon %d times", stopped[pid], pid, daemons[pid])
			}
		case r.status == 0:
			pid = named(saidPID, r.out)
		case r.status == 1 && strings.Count(r.err_, "\n") == 1:
			if pid = named(runsAlready, r.err_); pid == 0 { // The one that it lost to has ended.
				continue
			}
		}
		if daemons[pid] == 0 {
			s.errorf("%s ended with status %d and said %q %q, and %d others were daemons", name, r.status, r.out, r.err_, len(daemons))
		}
	}
	found(daemons)
	if stops < loops*wins-1 {
		s.errorf("%d have won, and %d were stopped", loops*wins, stops)
	}
	if text, err := os.ReadFile(s.pid); err != nil || len(text) > 0 {
		s.errorf("all have ended cleanly, and the PID file has %q (%v)", text, err)
	}
	return s.wrong
}

// TestPIDFileStorm starts many daemons at once: each time one runs. That is 20 starts in 2
// rounds for step 8, 6 for step 11, and with -storm 200 in 50 for each.
func TestPIDFileStorm(t *testing.T) {
	t.Parallel()
	for i, step := range oneDaemonSteps() {
		starts, rounds := 20, 2
		switch {
		case *storm:
			starts, rounds = 200, 50
		case i+1 == len(oneDaemonSteps()):
			starts, rounds = 6, 1
		case i > 0: // It has step 8's pidfile.go, and step 11's readiness.
			continue
		}
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			complain(t, newPIDStorm(t, witnessed(t, step)).storm(starts, rounds))
		})
	}
}

// TestPIDFileRelay starts daemons while others end: no two run at the same time.
func TestPIDFileRelay(t *testing.T) {
	t.Parallel()
	for i, step := range oneDaemonSteps() {
		loops, wins := 3, 2
		switch {
		case *storm:
			loops, wins = 8, 50
		case i > 0: // It has the same pidfile.go.
			continue
		}
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			complain(t, newPIDStorm(t, witnessed(t, step)).relay(loops, wins))
		})
	}
}

// needStrace returns the path of strace(1), or skips the test.
func needStrace(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace(1) is not installed: it shows each system call, or ends a process at one")
	}
	return path
}

var (
	ofPIDFile    = regexp.MustCompile(`^\d+ +(\w+)\(\d+<(/\S+/pid)>, (.*?)(\)| <unfinished)`)
	namesPIDFile = regexp.MustCompile(`^\d+ +(unlink|rename|link|symlink)\w*\(.*"(\S+/)?pid"`)
)

// TestPIDFileIsWrittenByOne looks at every change that many starts at once make to the
// PID file. There are three: the winner empties it, writes its pid, and empties it at its
// end. Nobody removes the file, or puts another in its place.
func TestPIDFileIsWrittenByOne(t *testing.T) {
	t.Parallel()
	strace := needStrace(t)
	starts := 5
	if *storm {
		starts = 200
	}
	for _, step := range oneDaemonSteps() {
		if step != oneDaemonSteps()[0] && !*storm { // They have its pidfile.go.
			continue
		}
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := newPIDStorm(t, program(step))
			trace := filepath.Join(s.dir, "trace")
			s.tracer = []string{strace, "-f", "-qq", "-y", "--seccomp-bpf", "-o", trace, "-e", "trace=write,pwrite64,writev,ftruncate,truncate,fallocate,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat"}
			results := s.run(atOnce+`; result stop "$0" -stop -pidfile "$1"`, strconv.Itoa(starts))
			s.over()
			daemon := named(hasEnded, results["stop"].out)
			text, err := os.ReadFile(trace)
			s.check(err)
			var changes []string
			for line := range strings.Lines(string(text)) {
				if m := ofPIDFile.FindStringSubmatch(line); m != nil && m[2] == s.pid {
					changes = append(changes, m[1]+" "+m[3])
				}
				if namesPIDFile.MatchString(line) {
					changes = append(changes, line)
				}
			}
			if want := []string{"ftruncate 0", fmt.Sprintf(`write "%d\n", %d`, daemon, len(fmt.Sprintln(daemon))), "ftruncate 0"}; !slices.Equal(changes, want) {
				s.errorf("process %d has won, and these changed the file: %q", daemon, changes)
			}
			complain(t, s.wrong)
		})
	}
}

// TestPIDFileSurvivesKill ends a start by SIGKILL, before one of its system calls; with
// -storm, before the first call of any thread, then before the second of any, and so on.
// After each the next start has to succeed, or to say truly that the daemon runs already.
func TestPIDFileSurvivesKill(t *testing.T) {
	t.Parallel()
	strace := needStrace(t)
	for _, step := range oneDaemonSteps() {
		if step != oneDaemonSteps()[0] && !*storm { // They have its pidfile.go.
			continue
		}
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s := newPIDStorm(t, program(step))
			log := s.pid + ".log"
			if !*storm { // what the daemon does with the file, and then with its log
				for _, at := range [][]string{
					{"all", s.pid}, {"fcntl", s.pid}, {"fchmod", s.pid}, {"ftruncate", s.pid}, {"write", s.pid}, {"write", log},
				} {
					if !s.killAt(at[0]+" of "+at[1], strace, "-P", at[1], "-e", "inject="+at[0]+":signal=KILL:when=1", s.bin, "-foreground", "-pidfile", s.pid, "-log", log) {
						s.errorf("the start was not killed before %s of %s", at[0], at[1])
					}
				}
			} else {
				n := 1
				for s.killAt(fmt.Sprint("call ", n), strace, "-e", fmt.Sprintf("inject=all:signal=KILL:when=%d", n), s.bin, "-pidfile", s.pid, "-log", log) {
					n++
				}
				t.Logf("killed before %d calls", n-1)
				if n < 100 {
					s.errorf("a start has %d calls", n-1)
				}
			}
			complain(t, s.wrong)
		})
	}
}

// killAt runs strace with these arguments, and so has a start killed: at says where. It
// returns whether it was killed, the launcher or the daemon.
func (s *pidStorm) killAt(at, strace string, args ...string) bool {
	s.t.Helper()
	session, err := s.lab.Start(lab.Command{Args: append([]string{strace, "-f", "-qq", "-o", "/dev/null"}, args...)})
	s.check(err)
	s.rest()
	daemon := s.holder()
	if daemon != 0 { // The launcher was killed, or nobody.
		r := s.run(`result start "$0" -pidfile "$1"`)["start"]
		if r.status != 1 || named(runsAlready, r.err_) != daemon {
			s.errorf("%s: process %d holds the file, and a start ended with status %d and said %q %q", at, daemon, r.status, r.out, r.err_)
		}
		s.stop(daemon)
	}
	exit, err := session.Wait(deadline)
	s.check(err)
	s.over()
	r := s.run(`result start "$0" -pidfile "$1"`)["start"]
	if r.status != 0 {
		s.errorf("%s: the next start ended with status %d and said %q %q", at, r.status, r.out, r.err_)
	}
	s.runs(named(saidPID, r.out))
	s.check(s.lab.Clear())
	return (daemon == 0 || !exit.OK()) && len(s.wrong) == 0
}

// TestPIDFileStormBites holds that a storm would see what it is there for.
func TestPIDFileStormBites(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		edits []edit
		want  string
	}{
		{"no lock", []edit{{"pidfile.go", "err = unix.FcntlFlock(held.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})", ""}},
			`of 4 starts 4 have won`},
		{"loser writes its pid", []edit{
			{"launch.go", "checkPIDFile(c)", "error(nil)"},
			{"pidfile.go", "\t\tif pid != 0 {\n\t\t\treturn runsAlready", "\t\tif pid != 0 {\n" +
				"\t\t\tos.WriteFile(string(c.pid), []byte(fmt.Sprintln(os.Getpid())), 0)\n\t\t\treturn runsAlready"}},
			`has won, and the PID file has "`},
		{"loser does not say who runs", []edit{{"pidfile.go", "as process %d: it holds %s\", pid, c.pid", "it holds %s\", c.pid"}},
			`has won, and a loser ended with status 1 and said`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newPIDStorm(t, witnessed(t, "09-ready", c.edits...))
			// One round is nearly always enough. Losers that write before the winner does
			// may be overlooked: their pids are soon gone.
			if said := strings.Join(s.storm(4, 20), "\n"); !strings.Contains(said, c.want) {
				t.Errorf("said %q, and not %q", said, c.want)
			}
		})
	}
	t.Run("the next starts too early", func(t *testing.T) {
		t.Parallel()
		s := newPIDStorm(t, witnessed(t, "09-ready", edit{"pidfile.go", "return held.Truncate(0)", "os.Remove(held.Name())\n\tselect {}"},
			edit{"cleanup.go", "3 * time.Second", "time.Hour"}))
		const start = `result start "$0" -pidfile "$1"`
		s.check(s.lab.Signal(named(saidPID, s.run(start)["start"].out), unix.SIGTERM))
		s.rest()
		s.run(start)
		s.over()
		if said := strings.Join(s.wrong, "\n"); !strings.Contains(said, "two daemons ran at the same time") {
			t.Errorf("said %q", said)
		}
	})
}
