//go:build linux

package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"daemonsteps/internal/proc"
)

// fate says what ended a process, after it has been sent SIGTERM. A SIGHUP or
// SIGINT that was sent before comes first: it has the lower number, and the wait
// status tells which one it was (signal(7)).
func fate(t *testing.T, l *Lab, pid int) syscall.Signal {
	t.Helper()
	l.Signal(pid, syscall.SIGTERM) // may be too late
	return waitExit(t, l, pid).Signal
}

const (
	hup  = syscall.SIGHUP
	intr = syscall.SIGINT
	term = syscall.SIGTERM
)

// Who gets SIGHUP when the terminal hangs up: the leader of its session, and,
// when the leader ends, the foreground process group.
func TestHangup(t *testing.T) {
	how := []string{"same", "group", "session"}
	for _, c := range []struct {
		name string
		way  Way
		stay bool // the launcher has not ended
		want []syscall.Signal
	}{
		{"job in the background", Job, false, []syscall.Signal{term, term, term}},
		{"job in the foreground", Job, true, []syscall.Signal{hup, term, term}},
		{"script", Script, false, []syscall.Signal{hup, term, term}},
		{"script that goes on", Script, true, []syscall.Signal{hup, term, term}},
		// The end of the leader hangs up.
		{"direct", Direct, false, []syscall.Signal{hup, term, term}},
		{"direct that goes on", Direct, true, []syscall.Signal{hup, term, term}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, Options{})
			args := children(how...)
			if c.stay {
				args = append(args, "stay")
			}
			s := start(t, l, Command{Args: args, Way: c.way})
			if !c.stay {
				want(t, "exit", wait(t, s), Exit{})
			}
			rest(t, l)
			pids := pidsIn(t, s)
			want(t, "children", len(pids), len(how))
			if c.way == Direct && !c.stay {
				want(t, "killed before", waitExit(t, l, pids[0]).Signal, hup)
			}
			if err := s.Hangup(); err != nil {
				t.Fatal(err)
			}
			if c.stay {
				want(t, "exit of the command", wait(t, s), Exit{Signal: hup})
			}
			for i, pid := range pids {
				want(t, how[i]+" killed by", fate(t, l, pid), c.want[i])
			}
			wantError(t, "type on a closed terminal", s.Type("x"), "type on the terminal")
			if err := s.Hangup(); err != nil {
				t.Error("hang up again:", err)
			}
			if _, _, err := s.Output(); err != nil {
				t.Error("output after the hang-up:", err)
			}
		})
	}
}

// A leader that ignores SIGHUP lives on, and so does its process group.
func TestHangupIgnored(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Way: Direct, Args: sh(`sleep 1000 & echo $!; trap "" HUP; exec sleep 1000`)})
	rest(t, l)
	pid := pidsIn(t, s)[0]
	if err := s.Hangup(); err != nil {
		t.Fatal(err)
	}
	signal1(t, l, pid, term)
	rest(t, l)
	want(t, "leader killed by", fate(t, l, s.Info.Launcher), term) // The child is ours now.
	want(t, "child killed by", waitExit(t, l, pid).Signal, term)

	// The command ignores it; the shell does not.
	s = start(t, l, Command{Args: sleep, Ignore: []syscall.Signal{hup, intr}})
	if err := s.Hangup(); err != nil {
		t.Fatal(err)
	}
	want(t, "command killed by", fate(t, l, s.Info.Launcher), term)
}

// A stopped job is killed as well: SIGCONT comes with the SIGHUP.
func TestHangupStopped(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: sleep})
	signal1(t, l, s.Info.Launcher, syscall.SIGSTOP)
	rest(t, l)
	want(t, "state", stat(t, l, s.Info.Launcher).State, "T")
	if err := s.Hangup(); err != nil {
		t.Fatal(err)
	}
	want(t, "exit", wait(t, s), Exit{Signal: hup})
}

// A typed ^C is for the foreground process group.
func TestInterrupt(t *testing.T) {
	how := []string{"same", "group", "session"}
	for _, c := range []struct {
		name string
		way  Way
		stay bool
		want []syscall.Signal
	}{
		{"job in the background", Job, false, []syscall.Signal{term, term, term}},
		{"job in the foreground", Job, true, []syscall.Signal{intr, term, term}},
		{"script", Script, false, []syscall.Signal{intr, term, term}},
		{"script that goes on", Script, true, []syscall.Signal{intr, term, term}},
		{"direct that goes on", Direct, true, []syscall.Signal{intr, term, term}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, Options{})
			args := children(how...)
			if c.stay {
				args = append(args, "stay")
			}
			s := start(t, l, Command{Args: args, Way: c.way})
			if !c.stay {
				want(t, "exit", wait(t, s), Exit{})
			}
			rest(t, l)
			pids := pidsIn(t, s)
			want(t, "children", len(pids), len(how))
			if err := s.Type("\x03"); err != nil {
				t.Fatal(err)
			}
			if c.stay {
				want(t, "exit of the command", wait(t, s), Exit{Signal: intr})
			}
			for i, pid := range pids {
				want(t, how[i]+" killed by", fate(t, l, pid), c.want[i])
			}
			if c.way != Direct {
				if st := stat(t, l, s.Info.Leader); st.State == "Z" {
					t.Error("the shell has ended of the ^C")
				}
			}
		})
	}
}

// When Type returns, the signal has been sent: it is pending in a process that
// blocks it.
func TestTypeIsDone(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	for i := range 8 {
		s := start(t, l, Command{Args: sleep, Block: []syscall.Signal{intr}})
		if i%2 == 1 { // There is input that nobody has read.
			if err := s.Type("a line\n"); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Type("\x03"); err != nil {
			t.Fatal(err)
		}
		threads, err := proc.Threads(s.Info.Launcher)
		if err != nil {
			t.Fatal(err)
		}
		if threads[0].Pending != 1<<(intr-1) {
			t.Fatalf("start %d: no SIGINT is pending when Type returns", i)
		}
	}
}

// Also when the second comes while the first is shown.
func TestTypeTwice(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: sleep, Block: []syscall.Signal{intr}})
	for range 20 {
		if err := s.Type("\x03word\x03\x03"); err != nil {
			t.Fatal(err)
		}
	}
}

// What is typed is read by the command, and shown.
func TestTypeText(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: sh(`read x; echo "got $x"`)})
	if err := s.Type("some words\n"); err != nil {
		t.Fatal(err)
	}
	want(t, "exit", wait(t, s), Exit{})
	want(t, "output", output(t, s), "some words\ngot some words\n")
}

// relay makes a file in its TMPDIR on every SIGUSR1, after it has played ping-pong
// with a child: one of the two is always awake, and the other asleep.
const relay = `cd $TMPDIR && mkfifo to from idle && exec 5<>idle
cat <to >from & exec 3>to 4<from
i=0; trap 'n=0; while [ $n -lt 50 ]; do echo >&3; read x <&4; n=$((n+1)); done; : >$i; i=$((i+1))' USR1
while :; do read x <&5; done`

// Rest returns when all that a signal sets off is done.
func TestRest(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: sh(relay)})
	live := rest(t, l)
	want(t, "live", len(live), 2)
	for i := range 30 {
		signal1(t, l, s.Info.Launcher, syscall.SIGUSR1)
		wantList(t, "live", rest(t, l), live)
		name := filepath.Join(s.Info.TmpDir, fmt.Sprint(i))
		if _, err := os.Stat(name); err != nil {
			t.Fatalf("signal %d: at rest, but: %v", i, err)
		}
	}
}

func TestRestBusy(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: sh("while :; do :; done")})
	_, err := l.Rest(20 * time.Millisecond)
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("it is not ErrTimeout: %v", err)
	}
	wantError(t, "Rest", err, "not come to rest after 20ms", fmt.Sprintf("pid %d (sh) state R", s.Info.Launcher))
	live, err := l.Live()
	if err != nil {
		t.Fatal(err)
	}
	wantList(t, "live", live, []int{s.Info.Launcher})
}

// A program that starts itself again for ever is never at rest, although each of
// its processes is soon gone.
func TestRestAgain(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{role("role-again"), role("role-chain"), role("role-reaper", role("role-chain")...)} {
		l := newLab(t, Options{})
		s := start(t, l, Command{Args: args})
		for range 3 {
			if live, err := l.Rest(100 * time.Millisecond); !errors.Is(err, ErrTimeout) {
				ended, err2 := l.Ended()
				t.Fatalf("%s is at rest: %v, %v%s\n%d have ended (%v), the last as %+v; printed %q",
					args, live, err, shown(live), len(ended), err2, ended[max(0, len(ended)-1):], output(t, s))
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// shown shows processes, with all of their threads, in a failure.
func shown(pids []int) (text string) {
	for _, pid := range pids {
		st, err := proc.ReadStat(pid)
		threads, err2 := proc.Threads(pid)
		children, err3 := proc.Children(pid)
		text += fmt.Sprintf("\n%+v, children %v, threads %+v (%v)", st, children, threads, errors.Join(err, err2, err3))
	}
	return text
}

// A process that sleeps for a millisecond, again and again, is not at rest. When it is
// stopped it is: it does not wake by itself, wherever it was.
func TestRestStopped(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: role("role-naps")})
	for range 20 {
		if live, err := l.Rest(20 * time.Millisecond); !errors.Is(err, ErrTimeout) {
			t.Fatalf("it naps, and is at rest: %v, %v", live, err)
		}
		signal1(t, l, s.Info.Launcher, syscall.SIGSTOP)
		wantList(t, "live", rest(t, l), []int{s.Info.Launcher})
		signal1(t, l, s.Info.Launcher, syscall.SIGCONT)
	}
}

// roleNaps sleeps for a millisecond, again and again.
func roleNaps([]string) int {
	for {
		syscall.Nanosleep(&syscall.Timespec{Nsec: 1e6}, nil)
	}
}

// Who has ended needs no second look. A program that starts itself for ever leaves
// thousands, and to read of each of them again and again took longer than it took the
// program to use up all pids.
func TestLiveAmongMany(t *testing.T) {
	t.Parallel()
	const many = 300
	l := newLab(t, Options{})
	start(t, l, Command{Args: sh(fmt.Sprintf("i=0; while [ $i -lt %d ]; do (true &); i=$((i+1)); done", many))})
	rest(t, l)
	if ended, err := l.Ended(); err != nil || len(ended) != many {
		t.Fatalf("%d have ended, %v", len(ended), err)
	}
	before := reads(t, l.guardian.Process.Pid)
	if live, err := l.Live(); err != nil || len(live) > 0 {
		t.Errorf("live: %v, %v", live, err)
	}
	if n := reads(t, l.guardian.Process.Pid) - before; n > many {
		t.Errorf("%d reads to see that nobody lives", n)
	}
}

// reads returns how often a process has called read(2) so far, and the like
// (proc_pid_io(5), syscr).
func reads(t *testing.T, pid int) (n int) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		t.Skip("this kernel does not count reads: ", err)
	}
	_, rest, _ := strings.Cut(string(text), "syscr: ")
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTimeoutLists(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: children("same", "same", "same", "same", "same", "same", "same", "same", "same", "same", "session", "stay")})
	live := rest(t, l)
	want(t, "live", len(live), 12)
	_, err := s.Wait(0)
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("it is not ErrTimeout: %v", err)
	}
	wantError(t, "Wait", err, fmt.Sprintf("the command (pid %d) has not ended after 0s", s.Info.Launcher),
		fmt.Sprintf("pid %d (sleep) state S ppid %d sid %d", live[9], s.Info.Launcher, s.Info.Leader), "and more")
	if strings.Contains(err.Error(), fmt.Sprint(live[10])) {
		t.Errorf("it lists more than 10: %v", err)
	}
	_, err = l.WaitExit(live[11], time.Millisecond)
	if !errors.Is(err, ErrTimeout) {
		t.Errorf("it is not ErrTimeout: %v", err)
	}
	wantError(t, "WaitExit", err, fmt.Sprintf("process %d has not ended after 1ms", live[11]))
}

// A process whose main thread has ended lives as long as another thread does.
func TestMainThreadEnded(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: role("role-headless"), Way: Direct})
	pid := s.Info.Launcher
	for stat(t, l, pid).State != "Z" { // The lab's watch ends this, if nothing else.
		rest(t, l)
	}
	wantList(t, "at rest", rest(t, l), []int{pid})
	ended, err := l.Ended()
	if err != nil || len(ended) > 0 {
		t.Errorf("ended: %v, %v", ended, err)
	}
	if _, err := l.WaitExit(pid, 0); !errors.Is(err, ErrTimeout) {
		t.Errorf("wait for it: %v", err)
	}
	signal1(t, l, pid, syscall.SIGKILL)
	want(t, "exit", wait(t, s), Exit{Signal: syscall.SIGKILL})
	wantList(t, "at rest", rest(t, l), nil)
}

func init() { runtime.LockOSThread() } // main runs on the main thread, for roleHeadless

func roleHeadless([]string) int {
	go sleepForEver()
	syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0) // of this thread, see exit(2)
	return 1
}

func TestWaitExit(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	for _, way := range []Way{Job, Direct} {
		for script, exit := range map[string]Exit{
			"exit 0": {}, "exit 3": {Status: 3}, "exit 255": {Status: 255},
			"kill -USR1 $$": {Signal: syscall.SIGUSR1}, "kill -KILL $$": {Signal: syscall.SIGKILL},
		} {
			s := start(t, l, Command{Args: sh(script), Way: way})
			want(t, script, wait(t, s), exit)
			want(t, script+", again", wait(t, s), exit)
			want(t, script+", by its pid", waitExit(t, l, s.Info.Launcher), exit)
			want(t, "OK", exit.OK(), script == "exit 0")
		}
	}
	want(t, "an exit", fmt.Sprint(Exit{Status: 3}), "exit status 3")
	want(t, "an exit", fmt.Sprint(Exit{Signal: hup}), "killed by SIGHUP")
}

func TestEnded(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: sh(`(trap "exit 4" TERM; sleep 1000 & wait) & echo $!; sleep 1000 & echo $!`)})
	want(t, "exit", wait(t, s), Exit{})
	want(t, "live", len(rest(t, l)), 3)
	pids := pidsIn(t, s)
	signal1(t, l, pids[0], term)
	signal1(t, l, pids[1], syscall.SIGUSR2)
	want(t, "first", waitExit(t, l, pids[0]), Exit{Status: 4})
	want(t, "second", waitExit(t, l, pids[1]), Exit{Signal: syscall.SIGUSR2})
	ended, err := l.Ended()
	if err != nil {
		t.Fatal(err)
	}
	// The oldest first: within a tick of the clock it is the lower pid.
	wantList(t, "ended", ended, []Orphan{{pids[0], Exit{Status: 4}}, {pids[1], Exit{Signal: syscall.SIGUSR2}}})
	want(t, "live", len(rest(t, l)), 1)
	if err := l.Clear(); err != nil {
		t.Fatal(err)
	}
	ended, err = l.Ended()
	if err != nil || len(ended) > 0 {
		t.Errorf("ended after Clear: %v, %v", ended, err)
	}
	wantList(t, "live after Clear", rest(t, l), nil)
	_, err = s.Wait(long)
	wantError(t, "Wait after Clear", err, "no session 0")
	_, _, err = s.Output()
	wantError(t, "Output after Clear", err, "no session 0")
	_, err = s.PipesEnded()
	wantError(t, "PipesEnded after Clear", err, "no session 0")
	wantError(t, "Hangup after Clear", s.Hangup(), "no session 0")
	wantError(t, "Type after Clear", s.Type("x"), "no session 0")
	want(t, "exit", wait(t, start(t, l, Command{Args: sh("exit 5")})), Exit{Status: 5})
}

// A child that its starter makes the child of the shell can be waited for too.
func TestWaitExitSibling(t *testing.T) {
	t.Parallel()
	for _, stay := range []bool{false, true} {
		for _, way := range ways {
			if way == Direct && !stay {
				continue // The end of the command ends its child.
			}
			t.Run(fmt.Sprintf("%s,stay=%v", way, stay), func(t *testing.T) {
				t.Parallel()
				l := newLab(t, Options{})
				args := children("sibling")
				if stay {
					args = append(args, "stay")
				}
				s := start(t, l, Command{Args: args, Way: way})
				if !stay {
					want(t, "exit", wait(t, s), Exit{})
				}
				rest(t, l)
				pid := pidsIn(t, s)[0]
				parent := s.Info.Leader
				if way == Direct {
					parent = l.Guardian()
				}
				want(t, "parent", stat(t, l, pid).PPID, parent)
				signal1(t, l, pid, syscall.SIGUSR1)
				want(t, "exit of the child", waitExit(t, l, pid), Exit{Signal: syscall.SIGUSR1})
				if stay {
					// The shell had to go, and with it the foreground process group.
					l.Signal(s.Info.Launcher, term)
					want(t, "exit of the command", wait(t, s).Signal != 0, true)
				}
				wantList(t, "live", rest(t, l), nil)
			})
		}
	}
}

// What only another process can wait for is an error that names it.
func TestWaitExitOfOthers(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: children("same", "stay")})
	live := rest(t, l)
	signal1(t, l, live[1], term)
	_, err := l.WaitExit(live[1], long)
	wantError(t, "wait for a child of the command", err, fmt.Sprintf("only its parent, process %d, can", s.Info.Launcher))

	s = start(t, l, Command{Args: sh(`sleep 1000 & wait; read x`)})
	rest(t, l)
	children, err := proc.Children(s.Info.Launcher)
	if err != nil || len(children) != 1 {
		t.Fatal(children, err)
	}
	signal1(t, l, children[0], term)
	_, err = l.WaitExit(children[0], long)
	wantError(t, "wait for a child that is waited for", err, fmt.Sprintf("process %d", children[0]))
}

// The Lab touches no process but its own.
func TestOthersProcesses(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	other := newLab(t, Options{})
	s := start(t, other, Command{Args: sleep})
	for _, pid := range []int{1, os.Getpid(), os.Getppid(), l.Guardian(), other.Guardian(), s.Info.Leader, s.Info.Launcher} {
		wantError(t, "signal", l.Signal(pid, 0), fmt.Sprintf("process %d is not one of this lab", pid))
		_, err := l.WaitExit(pid, 0)
		wantError(t, "wait", err, fmt.Sprintf("process %d is not one of this lab", pid))
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		wantError(t, "signal", l.Signal(pid, 0), fmt.Sprintf("process %d", pid))
		_, err := l.WaitExit(pid, 0)
		wantError(t, "wait", err, fmt.Sprintf("process %d", pid))
	}
	wantError(t, "signal", other.Signal(s.Info.Launcher, 1000), fmt.Sprintf("to process %d: invalid argument", s.Info.Launcher))
}

// Many Labs at once: each has its own orphans, and no other's.
func TestManyLabs(t *testing.T) {
	t.Parallel()
	errs := make(chan error)
	const labs = 8
	for range labs {
		go func() {
			errs <- func() (err error) {
				l, err := New(Options{})
				if err != nil {
					return err
				}
				defer func() { err = errors.Join(err, l.Close()) }()
				for _, way := range ways {
					args := sh("setsid sleep 1000 &")
					if way == Direct { // Only vfork(2) is in time for the hang-up.
						args = children("session")
					}
					s, err := l.Start(Command{Args: args, Way: way})
					if err != nil {
						return err
					}
					if e, err := s.Wait(long); err != nil || !e.OK() {
						return fmt.Errorf("%v, %w", e, err)
					}
				}
				live, err := l.Rest(long)
				if err != nil || len(live) != len(ways) {
					return fmt.Errorf("%d live, %w", len(live), err)
				}
				for _, pid := range live {
					p, err := l.State(pid)
					if err != nil || p.PPID != l.Guardian() || !strings.HasPrefix(p.Cwd, l.Place()) {
						return fmt.Errorf("not ours: %+v, %w", p, err)
					}
				}
				if err := l.Signal(live[0], hup); err != nil {
					return err
				}
				if e, err := l.WaitExit(live[0], long); err != nil || e.Signal != hup {
					return fmt.Errorf("%v, %w", e, err)
				}
				ended, err := l.Ended()
				if err != nil || len(ended) != 1 || ended[0].PID != live[0] {
					return fmt.Errorf("ended: %v, %w", ended, err)
				}
				return nil
			}()
		}()
	}
	for range labs {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
