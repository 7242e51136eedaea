//go:build linux

package lab

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// deaf is a shell's first line when it is not to be ended by a signal.
const deaf = `trap "" HUP INT TERM QUIT USR1 USR2 PIPE TSTP; `

// Whatever a command does, Close leaves nothing.
func TestCloseLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		live int  // so many are there before; -1: not known
		now  bool // Close comes at once
		ways bool // in all three ways, and not just as a job
	}{
		{"nothing", sh(":"), 0, false, true},
		{"fails", sh("exit 1"), 0, false, false},
		{"hangs", sh("read x"), 1, false, true},
		{"deaf", sh(deaf + "setsid sleep 1000 & :"), 1, false, true},
		{"deaf and hangs", sh(deaf + "read x"), 1, false, false},
		{"forks twice", sh(deaf + "setsid sh -c '(setsid sleep 1000 &)' & wait"), 1, false, true},
		{"sessions", children("session", "group", "same", "sibling", "session"), 5, false, true},
		{"stopped", sh("sleep 1000 & kill -STOP $! $$"), 2, false, false},
		{"tree", sh(deaf+tree, "6"), 127, false, false},
		{"growing tree", sh(deaf+tree, "6"), -1, true, false},
		{"fork bomb", sh(tree, "8"), 511, false, false},
		{"growing fork bomb", sh("setsid sh -c '" + tree + "' sh 8 &"), -1, true, false},
		{"again", role("role-again"), -1, false, false},
		{"chain", role("role-chain"), -1, false, false},
		{"chain now", role("role-chain"), -1, true, false},
		{"forker", role("role-forker"), -1, false, false},
		{"forker now", role("role-forker"), -1, true, false},
		{"subreaper", role("role-reaper"), 4, false, false},
		{"locks its files", sh(`mkdir -p $TMPDIR/a/b; touch $TMPDIR/a/b/c; chmod 0 $TMPDIR/a/b $TMPDIR/a; cd /; chmod 0 $TMPDIR`), 0, false, false},
		{"main thread ended", role("role-headless"), 1, false, false},
	} {
		for _, way := range ways {
			if way == Direct {
				c.live = -1 // The end of the command may end others.
			}
			if way != Job && !c.ways {
				continue
			}
			t.Run(c.name+","+string(way), func(t *testing.T) {
				t.Parallel()
				l := newLab(t, Options{})
				start(t, l, Command{Args: c.args, Way: way})
				switch {
				case c.now:
				case c.live < 0:
					l.Rest(5 * time.Millisecond)
				default:
					want(t, "live", len(rest(t, l)), c.live)
				}
				live, err := l.Live()
				if err != nil {
					t.Fatal(err)
				}
				pidfds := map[int]int{pidfdOf(t, l.Guardian()): l.Guardian()}
				for _, pid := range live {
					if fd, err := unix.PidfdOpen(pid, 0); err == nil { // It may have ended meanwhile.
						defer unix.Close(fd)
						pidfds[fd] = pid
					}
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				nothingLeft(t, l.Place())
				for fd, pid := range pidfds {
					if ready, err := poll(fd, unix.POLLIN, 0); ready == 0 || err != nil {
						t.Errorf("process %d is still there (%v)", pid, err)
					}
				}
			})
		}
	}
}

// tree is a shell that has two children, and so on, $1 generations deep.
const tree = `f() { if [ $1 -gt 0 ]; then f $(($1-1)) & f $(($1-1)) & wait; else exec sleep 1000; fi; }; f $1`

func nothingLeft(t *testing.T, place string) {
	t.Helper()
	if _, err := os.Lstat(place); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", place, err)
	}
	if pids := withEnviron(place); len(pids) > 0 {
		t.Errorf("processes of the lab are still there: %v", pids)
	}
}

// roleAgain is the article's program: it starts itself again, and ends.
func roleAgain([]string) int {
	self := role("role-again")
	_, err := os.StartProcess(self[0], self, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		fmt.Println("the chain ends here:", err)
		return 1
	}
	return 0
}

// roleChain is a process that forks, and ends, and so does its child. No program is
// started: that is what a shell does too, but dash ends its chain after 1000 calls of a
// function. The chain stops after a while, should a test not be able to end it.
//
// A forked child has one thread, and the Go runtime does not know that. So this is all
// that it may do: system calls, of which the runtime is not told.
//
//go:norace
func roleChain([]string) int {
	for range 20_000 {
		child, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 || child != 0 {
			syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
		}
	}
	syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	return 0
}

// roleForker starts children that live on. It stops after a while, should a test
// not be able to end it.
func roleForker([]string) int {
	for range 100 {
		os.StartProcess(sleep[0], sleep, &os.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}})
	}
	sleepForEver()
	return 0
}

// roleReaper becomes a child subreaper, as the guardian is, with orphans.
func roleReaper(args []string) int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 1
	}
	if len(args) == 0 {
		args = sh("setsid sleep 1000 & setsid sleep 1000 & sleep 1000 &")
	}
	if err := exec.Command(args[0], args[1:]...).Run(); err != nil {
		return 1
	}
	// It is one still, and nothing wakes it, not even SIGCHLD.
	syscall.Exec(sleep[0], sleep, os.Environ())
	return 1
}

// Close ends what waits: no call hangs.
func TestCloseMeanwhile(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: sleep})
	errs := make(chan error)
	go func() { _, err := s.Wait(time.Hour); errs <- err }()
	go func() { _, err := l.WaitExit(s.Info.Launcher, time.Hour); errs <- err }()
	go func() { _, err := l.WaitExit(s.Info.Leader, time.Hour); errs <- err }()
	closed := make(chan error, 2)
	for range 2 {
		go func() { closed <- l.Close() }()
	}
	for range 3 {
		<-errs // It may have seen the end, or not.
	}
	for range 2 {
		if err := <-closed; err != nil {
			t.Error("close:", err)
		}
	}
}

// A Lab whose guardian is killed says so, and hangs nowhere.
func TestGuardianKilled(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	s := start(t, l, Command{Args: sleep, Way: Direct})
	launcher := pidfdOf(t, s.Info.Launcher)
	waiting := make(chan error)
	go func() { _, err := s.Wait(time.Hour); waiting <- err }()
	if err := unix.Kill(l.Guardian(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wantError(t, "Wait", <-waiting, "call the guardian")
	_, err := l.Rest(time.Hour)
	wantError(t, "Rest", err, "call the guardian")
	wantError(t, "Close", l.Close(), fmt.Sprintf("the guardian (pid %d): signal: killed", l.Guardian()))
	if _, err := os.Lstat(l.Place()); !os.IsNotExist(err) {
		t.Errorf("the place is still there: %v", err)
	}
	// The terminal is closed, so the command, which leads its session, has ended.
	ends(t, "the command", launcher)
}

// A guardian that is told to end by a signal cleans up first.
func TestGuardianSignaled(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{hup, intr, term} {
		l := newLab(t, Options{})
		s := start(t, l, Command{Args: sh(deaf + "read x")})
		launcher := pidfdOf(t, s.Info.Launcher)
		rest(t, l)
		if err := unix.Kill(l.Guardian(), sig); err != nil {
			t.Fatal(err)
		}
		ends(t, "the command", launcher)
		ends(t, "the guardian", pidfdOf(t, l.Guardian()))
		if err := l.Close(); err != nil {
			t.Error("close:", err)
		}
		nothingLeft(t, l.Place())
	}
}

// An interrupted Lab leaves nothing: the guardian outlives it.
func TestInterruptedLab(t *testing.T) {
	for _, doing := range []string{"nothing", "waiting", "init"} {
		for _, sig := range []syscall.Signal{syscall.SIGKILL, intr, term} {
			if doing != "nothing" && sig != syscall.SIGKILL {
				continue
			}
			t.Run(fmt.Sprint(doing, " ", sig), func(t *testing.T) {
				t.Parallel()
				// The daemon has the FIFO open for writing, and nobody else has.
				fifo := filepath.Join(t.TempDir(), "fifo")
				if err := unix.Mkfifo(fifo, 0o600); err != nil {
					t.Fatal(err)
				}
				end, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer end.Close()
				cmd := helper(t, role("role-lab", doing, fifo))
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				line, _ := bufio.NewReader(out).ReadString('\n')
				if strings.Contains(line, ErrNoNamespace.Error()) {
					t.Skip(line)
				}
				var guardian int
				var place string
				if _, err := fmt.Sscan(line, &guardian, &place); err != nil {
					t.Fatalf("%v: the helper says %q", err, line)
				}
				pidfd := pidfdOf(t, guardian)
				if ready, err := poll(int(end.Fd()), unix.POLLHUP, 0); ready != 0 || err != nil {
					t.Fatalf("nobody has %s open (%v)", fifo, err)
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
				cmd.Wait()
				want(t, "end of the helper", Exit{Signal: cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()}, Exit{Signal: sig})
				if ready, err := poll(int(end.Fd()), unix.POLLHUP, long); ready == 0 || err != nil {
					t.Fatalf("the daemon is still there (%v)", err)
				}
				ends(t, "the guardian", pidfd)
				nothingLeft(t, place)
			})
		}
	}
}

// roleLab makes a Lab with a daemon in it, and says so in a line. It does not
// close it, but with "new", when it only shows where the place is.
func roleLab(args []string) int {
	err := func() error {
		l, err := New(Options{Init: args[0] == "init" || args[0] == "new" && args[1] == "init"})
		if err != nil {
			return err
		}
		if args[0] == "new" {
			fmt.Println(l.Place())
			return l.Close()
		}
		s, err := l.Start(Command{Args: sh(deaf+`setsid sleep 1000 >$1 & read x`, args[1])})
		if err != nil {
			return err
		}
		if _, err := l.Rest(long); err != nil {
			return err
		}
		fmt.Println(l.guardian.Process.Pid, l.Place())
		if args[0] == "waiting" { // A call under way does not keep the guardian from noticing.
			_, err := s.Wait(time.Hour)
			return err
		}
		sleepForEver()
		return nil
	}()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}
