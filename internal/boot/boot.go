//go:build linux

// Package boot boots a machine: a real systemd as PID 1, in namespaces of its own,
// on this system's /usr and an empty rest. It takes root, a cgroup2 file system, and
// an installed systemd, and it takes about three seconds.
//
// The machine is enough to prove what init does for a daemon: it is started, supervised
// and ended, its sockets are passed to it, and after a reboot it is there again. It is
// not a jail for hostile programs. Limits above our own, memory limits and negative OOM
// scores may not be enforced in it.
//
// Waiting is for events: systemd says on its own socket when it is up, its bus tells
// each change of a unit, and its guardian waits for its end.
//
// A program that uses this package calls Main first thing in its main function or
// TestMain, since the guardian and the first half of PID 1 are that same program,
// started again.
package boot

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"daemonsteps/internal/lab"
)

// The names, as argument 0, under which Main is something else than the caller's program.
const (
	guardianName = "boot-guardian"
	initName     = "boot-init"
)

// Main returns at once, except in a process that this package started from the running
// program's own file.
func Main() {
	switch os.Args[0] {
	case guardianName:
		os.Exit(guardianMain())
	case initName:
		os.Exit(initMain())
	}
}

// ErrNotHere says that this system cannot boot another. The error's text says why.
var ErrNotHere = errors.New("no machine can be booted here")

// A System is a machine. It has a disk, which lasts, and is up or down.
type System struct {
	dir       string // root: its disk; local: its /usr/local; notify: where it says that it is up
	guardian  *exec.Cmd
	lastWords bytes.Buffer
	conn      net.Conn
	in        *json.Decoder
	notify    *net.UnixConn
	pid       int
	bus       *bus
}

// New makes a machine that is down. Whoever calls New calls Close.
func New() (s *System, err error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: it takes root", ErrNotHere)
	}
	if _, err := os.Stat(systemd); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	cgroups, err := cgroup2()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	dir, err := os.MkdirTemp("", "boot-")
	if err != nil {
		return nil, fmt.Errorf("make a machine: %w", err)
	}
	s = &System{dir: dir}
	cgroup := filepath.Join(cgroups, "daemonsteps-"+filepath.Base(dir))
	if err := os.Mkdir(cgroup, 0o755); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("%w: make a cgroup: %w", ErrNotHere, err)
	}
	if err := s.startGuardian(cgroup); err != nil {
		return nil, errors.Join(fmt.Errorf("make a machine: %w", err), os.Remove(cgroup), os.RemoveAll(dir))
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make a machine: %w", err), s.Close())
		}
	}()
	// systemd looks at dir/notify only. Nobody but root reads the rest.
	address := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	if s.notify, err = net.ListenUnixgram("unixgram", address); err != nil {
		return s, err
	}
	return s, s.makeDisk()
}

func (s *System) startGuardian(cgroup string) error {
	ours, theirs, err := lab.SocketPair()
	if err != nil {
		return err
	}
	defer ours.Close()
	defer theirs.Close()
	s.guardian = exec.Command("/proc/self/exe")
	s.guardian.Args = []string{guardianName, s.dir, cgroup}
	s.guardian.Stderr = &s.lastWords
	s.guardian.ExtraFiles = []*os.File{theirs}
	s.guardian.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // It hears nothing of a ^C meant for us.
	if s.conn, err = net.FileConn(ours); err != nil {
		return err
	}
	if err := s.guardian.Start(); err != nil {
		s.conn.Close()
		return fmt.Errorf("start the guardian: %w", err)
	}
	s.in = json.NewDecoder(s.conn)
	return nil
}

// cgroup2 returns where the unified hierarchy is mounted.
func cgroup2() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if field := strings.Fields(line); len(field) > 2 && field[2] == "cgroup2" {
			return field[1], nil
		}
	}
	return "", errors.New("no cgroup2 file system is mounted")
}

// makeDisk makes what a system with all its programs in /usr has besides them.
func (s *System) makeDisk() error {
	err := os.Mkdir(filepath.Join(s.dir, "local"), 0o755)
	for _, dir := range []string{"proc", "sys", "dev", "run", "tmp", "usr", "root", "etc/systemd/system", "var/log/journal"} {
		err = errors.Join(err, os.MkdirAll(s.Path("/"+dir), 0o755))
	}
	for link, to := range map[string]string{
		"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64",
		"/etc/os-release":                    "../usr/lib/os-release",
		"/etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target",
	} {
		err = errors.Join(err, os.Symlink(to, s.Path(link)))
	}
	for _, file := range []string{"/etc/passwd", "/etc/group", "/etc/nsswitch.conf"} {
		text, e := os.ReadFile(file)
		err = errors.Join(err, e, os.WriteFile(s.Path(file), text, 0o644))
	}
	// Generators make units of what this system's disks and consoles are like. That is
	// not the machine's business, and takes most of the time of a daemon-reload.
	generators, e := os.ReadDir("/usr/lib/systemd/system-generators")
	err = errors.Join(err, e, os.Mkdir(s.Path("/etc/systemd/system-generators"), 0o755))
	for _, generator := range generators {
		err = errors.Join(err, os.Symlink("/dev/null", s.Path("/etc/systemd/system-generators/"+generator.Name())))
	}
	// Without one the first boot would enable all that /usr has.
	err = errors.Join(err, os.WriteFile(s.Path("/etc/machine-id"), []byte(randomID()+"\n"), 0o444))
	return err
}

func randomID() string {
	id := make([]byte, 16)
	rand.Read(id)
	return hex.EncodeToString(id)
}

// Path returns where a file of the machine's disk is for us. Its /run, /tmp, /dev and
// /proc are not on the disk: InRun knows them.
func (s *System) Path(name string) string {
	if rest, ok := strings.CutPrefix(name, "/usr/local/"); ok {
		return filepath.Join(s.dir, "local", rest)
	}
	return filepath.Join(s.dir, "root", name)
}

// Inside returns the name by which we reach a file of the machine that is up.
func (s *System) Inside(name string) string {
	return fmt.Sprintf("/proc/%d/root%s", s.pid, name)
}

// PID returns the machine's PID 1, as we see it.
func (s *System) PID() int { return s.pid }

// Boot boots the machine, and returns when it is up. The error wraps ErrNotHere if we
// may not make the namespaces, as in most containers.
func (s *System) Boot(timeout time.Duration) error {
	id := randomID()
	id = strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
	deadline := time.Now().Add(timeout)
	s.conn.SetDeadline(deadline)
	if err := json.NewEncoder(s.conn).Encode(order{id}); err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	e, err := s.event()
	if err == nil && e.Error != "" {
		err = errors.New(e.Error)
	}
	if e.Refused {
		err = fmt.Errorf("%w: %w", ErrNotHere, err)
	}
	if err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	s.pid = e.PID
	if err := s.awaitReady(deadline); err != nil {
		return fmt.Errorf("boot: %w; its console:\n%s", err, s.Console())
	}
	if s.bus, err = s.dial(); err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	return nil
}

// awaitReady waits until systemd says that it is up (sd_notify(3)), or has ended.
func (s *System) awaitReady(deadline time.Time) error {
	ended := make(chan error, 1)
	over := errors.New("PID 1 has ended")
	gone, err := watchEnd(s.pid)
	if errors.Is(err, syscall.ESRCH) { // The guardian has waited for it already.
		return over
	}
	if err != nil {
		return err
	}
	defer gone.Close()
	go func() { // A pidfd can be polled, and so a read of it waits for the end.
		ended <- waitEnd(gone, time.Until(deadline))
		s.notify.SetReadDeadline(time.Now())
	}()
	s.notify.SetReadDeadline(deadline)
	message := make([]byte, 4096)
	for {
		n, err := s.notify.Read(message)
		if err != nil {
			return cmp.Or(<-ended, over)
		}
		for line := range strings.Lines(string(message[:n])) {
			if strings.TrimSpace(line) == "READY=1" {
				return nil
			}
		}
	}
}

// event waits for what the guardian tells.
func (s *System) event() (e event, err error) {
	if err = s.in.Decode(&e); err != nil {
		err = fmt.Errorf("hear from the guardian: %w", err)
	}
	return e, err
}

// How a machine has gone down. PID 1 of a namespace cannot reboot a machine: the kernel
// ends it by a signal that says what it asked for (reboot(2)).
const (
	Rebooted   = syscall.SIGHUP
	PoweredOff = syscall.SIGINT
)

// WaitDown waits until the machine is down, and returns by which signal PID 1 ended.
func (s *System) WaitDown(timeout time.Duration) (syscall.Signal, error) {
	s.conn.SetDeadline(time.Now().Add(timeout))
	e, err := s.event()
	if err != nil {
		return 0, fmt.Errorf("wait until the machine is down: %w; its console:\n%s", err, s.Console())
	}
	s.bus.close()
	s.pid, s.bus = 0, nil
	if !e.Status.Signaled() {
		return 0, fmt.Errorf("PID 1 has ended with status %d; its console:\n%s", e.Status.ExitStatus(), s.Console())
	}
	return e.Status.Signal(), nil
}

// Command returns a command that runs inside: in all of PID 1's namespaces, with its
// root and its working directory.
func (s *System) Command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--target", fmt.Sprint(s.pid), "--all", "--root", "--wd", "--"}, args...)...)
	// It must not outlive us: the machine cannot go while it has a child of it to reap.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "LC_ALL=C.UTF-8", "SYSTEMD_PAGER=cat", "SYSTEMD_COLORS=0"}
	return cmd
}

// Console returns what PID 1 has written on its console.
func (s *System) Console() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "console"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Close takes the machine away: all processes, mounts, its cgroup and its disk.
func (s *System) Close() error {
	s.bus.close()
	if s.notify != nil {
		s.notify.Close()
	}
	s.conn.Close()
	if err := s.guardian.Wait(); err != nil {
		return fmt.Errorf("the machine's guardian: %w: %s", err, s.lastWords.String())
	}
	return nil
}
