//go:build linux

package lab

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestService holds that a Service finds what systemd.exec(5) says of a service.
func TestService(t *testing.T) {
	for _, network := range []string{"", "unix", "tcp"} {
		t.Run("passed="+network, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, Options{})
			fds := []string{"0 char", "1 pipe", "2 pipe"}
			if network != "" {
				if _, err := l.Listen(network); err != nil {
					t.Fatal(err)
				}
				fds = append(fds, "3 socket")
			}
			s := start(t, l, Command{Args: sleep, Way: Service, Activate: network != "", Env: map[string]string{"LAB_STRAY": "a"}})
			pid := s.Info.Launcher
			wantList(t, "live processes", rest(t, l), []int{pid})
			p, err := l.State(pid)
			if err != nil {
				t.Fatal(err)
			}
			wantList(t, "arguments", p.Cmdline, sleep)
			want(t, "parent", p.PPID, l.Guardian())
			want(t, "session", p.SID, pid)
			want(t, "process group", p.PGID, pid)
			want(t, "controlling terminal", p.TTY, "")
			want(t, "umask", p.Umask, 0o022)
			want(t, "cwd", p.Cwd, s.Info.Start)
			wantList(t, "ignored", p.Ignored, nil)
			wantList(t, "blocked", p.Blocked, nil)
			var have []string
			for _, fd := range p.FDs {
				have = append(have, fmt.Sprint(fd.FD, " ", fd.Kind))
			}
			wantList(t, "descriptors", have, fds)
			want(t, "standard input", p.FDs[0].Target, os.DevNull)
			want(t, "standard error", File{p.FDs[2].Dev, p.FDs[2].Ino}, s.Info.Pipes[1])
			env := environ(t, pid)
			for _, entry := range env {
				name, _, _ := strings.Cut(entry, "=")
				given := []string{"LAB_STRAY", "PWD", "TMPDIR", "NOTIFY_SOCKET"}
				if network != "" {
					given = append(given, "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID")
				}
				if !slices.Contains(append(given, kept...), name) {
					t.Errorf("%s is in its environment", name)
				}
			}
			want(t, "LISTEN_PID is its pid", slices.Contains(env, fmt.Sprint("LISTEN_PID=", pid)), network != "")

			for call, err := range map[string]error{"hangup": s.Hangup(), "type": s.Type("x")} {
				wantError(t, call, err, "the command has none")
			}
			if err := l.Signal(pid, unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			exit, err := l.WaitExit(pid, long)
			want(t, "error", err, nil)
			want(t, "exit", exit.Signal, unix.SIGTERM)
			// It has ended, so nobody waits for what it would say.
			_, err = s.WaitNotice(0, "READY=1", long)
			wantError(t, "wait for a notice", err, "no READY=1 at $NOTIFY_SOCKET")
		})
	}
}

// TestNotices holds that the kernel says who has sent a message, and that a descriptor
// that comes with one is closed, for which sd_notify_barrier(3) waits.
func TestNotices(t *testing.T) {
	for _, deep := range []bool{false, true} {
		t.Run(fmt.Sprintf("deep=%v", deep), func(t *testing.T) {
			if deep { // A socket's path has fewer characters than that.
				dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
				if err := os.Mkdir(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				t.Setenv("TMPDIR", dir)
			}
			testNotices(t, newLab(t, Options{}), deep)
		})
	}
}

func testNotices(t *testing.T, l *Lab, deep bool) {
	t.Helper()
	s := start(t, l, Command{Args: sleep, Way: Service})
	rest(t, l) // In the middle of execve(2) a process has no environment.
	path := ""
	for _, entry := range environ(t, s.Info.Launcher) {
		if value, ok := strings.CutPrefix(entry, "NOTIFY_SOCKET="); ok {
			path = value
		}
	}
	want(t, "it is abstract", strings.HasPrefix(path, "@"), deep)
	sender, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(sender)
	say := func(text string, control []byte) {
		t.Helper()
		if err := unix.Sendmsg(sender, []byte(text), control, &unix.SockaddrUnix{Name: path}, 0); err != nil {
			t.Fatal(err)
		}
	}
	const many = 50 // more than a socket holds on some systems
	for range many {
		say("STATUS=on my way", nil)
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	say("BARRIER=1\nREADY=1\n", unix.UnixRights(pipe[1]))
	unix.Close(pipe[1])
	if n, err := unix.Read(pipe[0], make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("read: %d, %v, and not the end", n, err)
	}
	list, err := s.WaitNotice(many, "READY=1", long)
	if err != nil || len(list) != many+1 {
		t.Fatalf("%d messages, %v", len(list), err)
	}
	want(t, "message", list[many], Notice{os.Getpid(), "BARRIER=1\nREADY=1"})
	want(t, "READY=1", list[many].Has("READY=1"), true)
	want(t, "READY", list[many].Has("READY"), false)
}

// TestPassedSocket holds that Queued tells of a client that nobody has accepted, and
// that the socket is gone after Clear.
func TestPassedSocket(t *testing.T) {
	t.Parallel()
	l := newLab(t, Options{})
	_, err := l.Queued()
	wantError(t, "no socket", err, "there is no socket to pass")
	_, err = l.Start(Command{Args: sleep, Way: Service, Activate: true})
	wantError(t, "nothing to pass", err, "there is no socket to pass")
	_, err = l.Listen("udp")
	wantError(t, "network", err, `no such network: "udp"`)
	for _, network := range []string{"unix", "tcp"} {
		address, err := l.Listen(network)
		if err != nil {
			t.Fatal(err)
		}
		_, err = l.Listen(network)
		wantError(t, "a second socket", err, "there is one")
		queued, err := l.Queued()
		want(t, "error", err, nil)
		want(t, "queued before anybody came", queued, false)
		conn, err := net.Dial(network, address)
		if err != nil {
			t.Fatal(err)
		}
		queued, err = l.Queued()
		want(t, "error", err, nil)
		want(t, "queued", queued, true)
		conn.Close()
		if err := l.Clear(); err != nil {
			t.Fatal(err)
		}
		if conn, err := net.Dial(network, address); err == nil {
			conn.Close()
			t.Errorf("%s is still there", address)
		}
	}
}
