//go:build linux

package daemonsteps

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func init() {
	verbs["every"] = every
	verbs["asks"] = asks
	verbs["silent"] = silent
	verbs["occupy"] = occupy
	conditions["unshare"] = func() (bool, error) { return haveUnshare() == nil, nil }
	conditions["corelimit"] = func() (bool, error) {
		var limit unix.Rlimit
		err := unix.Getrlimit(unix.RLIMIT_CORE, &limit)
		return limit.Max > 0, err
	}
}

// haveUnshare says why we cannot have a network and mounts of our own.
var haveUnshare = sync.OnceValue(func() error {
	return tryOut("unshare", "--net", "--mount", "true")
})

// tryOut says why a command fails.
func tryOut(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// every compares a line of the daemon's status with words: that of each thread. They
// have user, groups, capabilities and no_new_privs each of their own.
func every(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: every LINE WORD...")
	}
	pid := started(ts).daemon
	paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	ts.Check(err)
	want := strings.Join(args[1:], " ")
	have := map[string]int{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) { // The thread has ended.
			continue
		}
		ts.Check(err)
		_, rest, _ := strings.Cut(string(text), "\n"+args[0]+":")
		line, _, _ := strings.Cut(rest, "\n")
		have[strings.Join(strings.Fields(line), " ")]++
	}
	if (len(have) == 1 && have[want] > 0) == neg {
		ts.Fatalf("%s of the threads of process %d, and how many have it: %v", args[0], pid, have)
	}
}

// asks connects to a port of the daemon's, in the network that the daemon is in, and
// matches the line that it is told. With ! it is told nothing when all is at rest.
func asks(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 && !neg || len(args) != 1 && neg {
		ts.Fatalf("usage: asks PORT PATTERN, or ! asks PORT")
	}
	fd, err := dialIn(fmt.Sprintf("/proc/%d/ns/net", started(ts).daemon), args[0])
	ts.Check(err)
	if neg {
		defer unix.Close(fd)
		_, err := started(ts).lab.Rest(deadline)
		ts.Check(err)
		told := make([]byte, 100)
		if n, err := unix.Read(fd, told); err != unix.EAGAIN {
			ts.Fatalf("port %s told %q: %v", args[0], told[:max(0, n)], err)
		}
		return
	}
	pattern, err := regexp.Compile(args[1])
	ts.Check(err)
	file := os.NewFile(uintptr(fd), "connection")
	defer file.Close()
	conn, err := net.FileConn(file)
	ts.Check(err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(deadline))
	line, err := bufio.NewReader(conn).ReadString('\n')
	ts.Check(err)
	if !pattern.MatchString(line) {
		ts.Fatalf("port %s told %q", args[0], line)
	}
}

// silent connects to a port of the daemon's, and reads nothing for as long as the
// scenario runs.
func silent(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 || neg {
		ts.Fatalf("usage: silent PORT")
	}
	fd, err := dialIn(fmt.Sprintf("/proc/%d/ns/net", started(ts).daemon), args[0])
	ts.Check(err)
	ts.Defer(func() { unix.Close(fd) })
}

// No other goroutine than main's runs on the main thread, then. The one below would take
// it into another network, and /proc/net is of the main thread's.
func init() { runtime.LockOSThread() }

// dialIn returns a socket that is connected to a port of localhost in another network
// namespace. A socket stays in the namespace in which it was made.
func dialIn(namespace, port string) (int, error) {
	number, err := strconv.Atoi(port)
	if err != nil {
		return -1, err
	}
	type result struct {
		fd  int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		fd, err := func() (int, error) {
			back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return -1, fmt.Errorf("open our network: %w", err)
			}
			// The thread goes on to serve others. It must not end either: what it has
			// started, such as a bridge of TestBoot's, may end with it (PR_SET_PDEATHSIG).
			defer func() {
				if unix.Setns(back, unix.CLONE_NEWNET) == nil {
					runtime.UnlockOSThread()
				}
				unix.Close(back)
			}()
			ns, err := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return -1, fmt.Errorf("open %s: %w", namespace, err)
			}
			defer unix.Close(ns)
			if err := unix.Setns(ns, unix.CLONE_NEWNET); err != nil {
				return -1, fmt.Errorf("enter the daemon's network: %w", err)
			}
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return -1, err
			}
			// What the other end may send before we read: little.
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1)
			// The loopback interface of a new network is down.
			request, err := unix.NewIfreq("lo")
			if err == nil {
				request.SetUint16(unix.IFF_UP)
				err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
			}
			if err == nil {
				err = unix.Connect(fd, &unix.SockaddrInet4{Port: number, Addr: [4]byte{127, 0, 0, 1}})
			}
			if err != nil {
				unix.Close(fd)
				return -1, fmt.Errorf("connect to port %s: %w", port, err)
			}
			unix.SetNonblock(fd, true)
			return fd, nil
		}()
		done <- result{fd, err}
	}()
	r := <-done
	return r.fd, r.err
}

// occupy listens at a TCP address for as long as the scenario runs: $ADDRESS.
func occupy(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, args)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { listener.Close() })
	ts.Setenv("ADDRESS", listener.Addr().String())
}

// needsRoot is how a scenario begins that an ordinary user cannot run.
const needsRoot = "[!root] skip"

// TestScenariosAsRoot runs the scenarios that need root for an ordinary user: as root of
// a user namespace that has other users as well. To give it these takes newuidmap(1) and
// newgidmap(1), and a line for the user in subuid(5) and in subgid(5).
func TestScenariosAsRoot(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("TestScenarios has run them, as root")
	}
	asRoot := []string{"unshare", "--user", "--map-auto", "--map-root-user"}
	if err := tryOut(append(asRoot, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "true")...); err != nil {
		t.Skip("there is no user namespace with other users: ", err)
	}
	paths, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{} // by folder
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains("\n"+string(text), "\n"+needsRoot) {
			folder := filepath.Base(filepath.Dir(path))
			names[folder] = append(names[folder], strings.TrimSuffix(filepath.Base(path), ".txtar"))
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for folder, names := range names {
		t.Run(folder, func(t *testing.T) {
			ctx := context.Background()
			if end, ok := t.Deadline(); ok {
				var cancel func()
				ctx, cancel = context.WithDeadline(ctx, end.Add(-time.Second))
				defer cancel()
			}
			run := fmt.Sprintf("-test.run=^TestScenarios$/^%s$/^(%s)$", folder, strings.Join(names, "|"))
			cmd := exec.CommandContext(ctx, asRoot[0], append(asRoot[1:], self, run, "-test.v")...)
			// Beside ours, not in it: a socket's path has 108 bytes at most (unix(7)).
			cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Dir(os.Getenv("TMPDIR")))
			text, err := cmd.CombinedOutput()
			for _, name := range names {
				if !strings.Contains(string(text), "--- PASS: TestScenarios/"+folder+"/"+name+" ") &&
					!strings.Contains(string(text), "--- SKIP: TestScenarios/"+folder+"/"+name+" ") {
					err = errors.Join(err, fmt.Errorf("%s has neither passed nor been skipped", name))
				}
			}
			t.Logf("as root of a user namespace:\n%s", text)
			if err != nil {
				t.Error(err)
			}
		})
	}
}
