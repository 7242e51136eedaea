//go:build linux

package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Notice is one message at the $NOTIFY_SOCKET of a Service (sd_notify(3)).
type Notice struct {
	PID  int // of its sender, as the kernel says (SCM_CREDENTIALS, unix(7))
	Text string
}

// Has says whether one of the message's lines is this assignment, such as READY=1.
func (n Notice) Has(assignment string) bool {
	return slices.Contains(strings.Split(n.Text, "\n"), assignment)
}

// Notices returns what a Service and its children have said so far.
func (s *Session) Notices() ([]Notice, error) {
	var list []Notice
	return list, s.lab.call("Notices", s.Info.ID, &list)
}

// WaitNotice waits until the message from some place on is there that has this
// assignment, and returns all that were sent so far.
func (s *Session) WaitNotice(from int, assignment string, timeout time.Duration) ([]Notice, error) {
	var list []Notice
	return list, s.lab.call("WaitNotice", Reading{s.Info.ID, assignment, timeout, from}, &list)
}

// Listen makes a socket that a Service can be passed, "unix" or "tcp", and returns its
// address. Until the next Clear it is there, whoever accepts its clients.
func (l *Lab) Listen(network string) (address string, err error) {
	return address, l.call("Listen", network, &address)
}

// Queued says whether a client waits that nobody has accepted.
func (l *Lab) Queued() (bool, error) {
	var queued bool
	return queued, l.call("Queued", Nothing{}, &queued)
}

// kept are the variables that a Service has of ours: those that systemd.exec(5) says it
// sets for every service, and HOME and the like, which it sets with a user.
var kept = []string{"PATH", "LANG", "HOME", "USER", "LOGNAME", "SHELL"}

// startService starts the command as a service manager would.
func (s *session) startService(c Command, socket string, out []*os.File, passed *os.File) (err error) {
	if len(socket) >= len(unix.RawSockaddrUnix{}.Path) {
		socket = "" // TMPDIR is deep. Then it gets a name that is not in the file system.
	}
	if s.mail, socket, err = openMailbox(socket); err != nil {
		return err
	}
	always := map[string]string{"TMPDIR": s.info.TmpDir, "NOTIFY_SOCKET": socket}
	for _, name := range kept {
		if value, ok := os.LookupEnv(name); ok {
			always[name] = value
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	list, path, args := append([]*os.File{null}, out...), c.Args[0], c.Args
	if c.Activate {
		if passed == nil {
			return errors.New("there is no socket to pass")
		}
		// LISTEN_PID is the pid of the command. Only the process that becomes it knows
		// that before the command's first instruction.
		list, path, args = append(list, passed), "/proc/self/exe", append([]string{stageName}, c.Args...)
		maps.Copy(always, map[string]string{"LISTEN_FDS": "1", "LISTEN_FDNAMES": "connection"})
	}
	// Not through os/exec: its Wait would reap the command.
	p, err := startBlocked(nil, path, args, &os.ProcAttr{Dir: c.Dir, Env: commandEnv(nil, c.Env, always), Files: list,
		Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return err
	}
	s.info.Launcher, s.info.Leader = p.Pid, p.Pid
	s.mail.watch(p.Pid)
	return p.Release()
}

// stageMain becomes the command that its arguments say.
func stageMain() int {
	env := append(os.Environ(), "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	err := syscall.Exec(os.Args[1], os.Args[1:], env)
	fmt.Fprintln(os.Stderr, &os.PathError{Op: "exec", Path: os.Args[1], Err: err})
	return 127
}

// A mailbox keeps what is said at a $NOTIFY_SOCKET. It is read at once: who says more
// than the socket holds would have to wait for us, and so would sd_notify_barrier(3).
type mailbox struct {
	file *os.File
	raw  syscall.RawConn
	mu   sync.Mutex
	more *sync.Cond // list or over has changed
	list []Notice
	over bool          // the command has ended, or the mailbox is closed
	done chan struct{} // closed when nobody reads any more
}

// openMailbox makes one at a path. If that is empty, the kernel finds an abstract
// address for it (unix(7)).
func openMailbox(path string) (m *mailbox, address string, err error) {
	fd, address, err := bind(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK, &unix.SockaddrUnix{Name: path})
	if err != nil {
		return nil, "", fmt.Errorf("make the socket for notices: %w", err)
	}
	m = &mailbox{file: os.NewFile(uintptr(fd), address), done: make(chan struct{})}
	m.more = sync.NewCond(&m.mu)
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	if err == nil && path != "" { // A service that gives up root must still be able to speak.
		err = os.Chmod(path, 0o777)
	}
	if err == nil {
		m.raw, err = m.file.SyscallConn()
	}
	if err != nil {
		m.file.Close()
		return nil, "", fmt.Errorf("listen for notices at %s: %w", address, err)
	}
	go func() {
		defer close(m.done)
		for m.read() {
		}
	}()
	return m, address, nil
}

// bind makes a socket with an address, and returns that as it is written: of an abstract
// one the first character is @.
func bind(family, kind int, to unix.Sockaddr) (fd int, address string, err error) {
	if fd, err = unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, "", fmt.Errorf("make a socket: %w", err)
	}
	if err = unix.Bind(fd, to); err == nil {
		to, err = unix.Getsockname(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, "", fmt.Errorf("give a socket an address: %w", err)
	}
	switch to := to.(type) {
	case *unix.SockaddrUnix:
		address = to.Name
	case *unix.SockaddrInet4:
		address = fmt.Sprintf("127.0.0.1:%d", to.Port)
	}
	return fd, address, nil
}

// read waits for a message, and keeps it. The lock is held from before the recvmsg(2),
// so that no message is in neither the kernel nor the list.
func (m *mailbox) read() bool {
	text, control := make([]byte, 8192), make([]byte, 1024)
	err := m.raw.Read(func(fd uintptr) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		n, controls, _, _, err := unix.Recvmsg(int(fd), text, control, unix.MSG_CMSG_CLOEXEC)
		if err != nil { // EAGAIN: raw.Read waits and calls us again.
			return err != unix.EAGAIN && err != unix.EINTR
		}
		if len(m.list) < enough/len(text) {
			m.list = append(m.list, Notice{sender(control[:controls]), string(bytes.TrimRight(text[:n], "\n"))})
		}
		m.more.Broadcast()
		return true
	})
	return err == nil
}

// sender returns who has sent a message. Descriptors that came with it are closed: for
// sd_notify_barrier(3) that is the answer.
func sender(control []byte) (pid int) {
	messages, _ := unix.ParseSocketControlMessage(control)
	for _, m := range messages {
		if c, err := unix.ParseUnixCredentials(&m); err == nil {
			pid = int(c.Pid)
		}
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_RIGHTS {
			for data := m.Data; len(data) >= 4; data = data[4:] {
				unix.Close(int(binary.NativeEndian.Uint32(data)))
			}
		}
	}
	return pid
}

// watch ends each wait when the command has ended.
func (m *mailbox) watch(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // Each wait has its timeout.
	}
	go func() {
		defer unix.Close(fd)
		for {
			ready, err := poll(fd, unix.POLLIN, time.Hour)
			if ready != 0 || err != nil {
				m.finish()
				return
			}
		}
	}()
}

func (m *mailbox) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	m.more.Broadcast()
}

// wait returns all that was sent before, as soon as it is as asked, at the latest after
// the timeout.
func (m *mailbox) wait(timeout time.Duration, asked func([]Notice) bool) (list []Notice, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	deadline := time.Now().Add(timeout)
	wake := time.AfterFunc(timeout, func() {
		m.mu.Lock() // Not between our look at the clock and our Wait: it would be lost.
		defer m.mu.Unlock()
		m.more.Broadcast()
	})
	defer wake.Stop()
	for {
		waiting := 0
		m.raw.Control(func(fd uintptr) { waiting, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
		if waiting == 0 {
			if ok = asked(m.list); ok || m.over || !time.Now().Before(deadline) {
				return slices.Clone(m.list), ok
			}
		}
		m.more.Wait()
	}
}

func (m *mailbox) close() {
	m.file.Close()
	<-m.done
	m.finish()
}

func (g *Guardian) mailbox(id int) (*mailbox, error) {
	s, err := g.session(id)
	if err == nil && s.mail == nil {
		err = errors.New("read the notices: the command is not a service")
	}
	if err != nil {
		return nil, err
	}
	return s.mail, nil
}

func (g *Guardian) Notices(id int, reply *[]Notice) error {
	m, err := g.mailbox(id)
	if err != nil {
		return err
	}
	*reply, _ = m.wait(0, func([]Notice) bool { return true })
	return nil
}

func (g *Guardian) WaitNotice(r Reading, reply *[]Notice) error {
	m, err := g.mailbox(r.ID)
	if err != nil {
		return err
	}
	list, ok := m.wait(r.Timeout, func(list []Notice) bool {
		return slices.ContainsFunc(list[min(r.From, len(list)):], func(n Notice) bool { return n.Has(r.Text) })
	})
	if *reply = list; !ok {
		return g.timeout("no %s at $NOTIFY_SOCKET after %v, but %q", r.Text, r.Timeout, list)
	}
	return nil
}

func (g *Guardian) Listen(network string, reply *string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.passed != nil {
		return errors.New("make a socket to pass: there is one, or the lab is closed")
	}
	file, address, err := listen(network)
	if err != nil {
		return fmt.Errorf("make a socket to pass: %w", err)
	}
	g.passed, *reply = file, address
	return nil
}

// listen makes a socket at an abstract address, or at any port of this machine's own.
func listen(network string) (file *os.File, address string, err error) {
	family, to := unix.AF_UNIX, unix.Sockaddr(&unix.SockaddrUnix{})
	switch network {
	case "unix":
	case "tcp":
		family, to = unix.AF_INET, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	default:
		return nil, "", fmt.Errorf("no such network: %q", network)
	}
	fd, address, err := bind(family, unix.SOCK_STREAM, to)
	if err != nil {
		return nil, "", err
	}
	if err := unix.Listen(fd, 16); err != nil {
		unix.Close(fd)
		return nil, "", fmt.Errorf("listen at %s: %w", address, err)
	}
	return os.NewFile(uintptr(fd), address), address, nil
}

// Queued looks whether the socket is readable, which for one that listens means that
// there is a client to accept (accept(2)).
func (g *Guardian) Queued(_ Nothing, reply *bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.passed == nil {
		return errors.New("look for clients: there is no socket to pass")
	}
	ready, err := poll(int(g.passed.Fd()), unix.POLLIN, 0)
	*reply = ready != 0
	return err
}
