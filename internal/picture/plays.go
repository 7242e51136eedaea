//go:build linux

package picture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"daemonsteps/internal/lab"
	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// never is a configuration with which no tick comes while we look.
const never = "every = 1h\n"

// plays are the lessons whose pictures need more than a start of two steps. From the
// sixth on, what an earlier lesson has settled is left out.
var plays = map[string]Lesson{
	"05-signals": {
		Before: Run{then: (*looker).terminate},
		After:  Run{then: (*looker).terminate},
	},
	"06-config": {
		Before: Run{Brief: true, then: (*looker).hangUp},
		After: Run{Brief: true, Args: []string{"-config", "conf"}, Env: map[string]string{"DAEMONSTEPS_TEXT": "hi"},
			Files: map[string]string{"conf": never}, look: []look{(*looker).readers}, then: (*looker).reload},
	},
	"07-log": {
		Before: Run{Brief: true, then: (*looker).rotate},
		After:  Run{Brief: true, Args: []string{"-log", "log"}, then: (*looker).rotate},
	},
	"08-pidfile": {
		Before: Run{Brief: true, then: (*looker).startAgain},
		After: Run{Brief: true, Args: []string{"-pidfile", "run/pid"}, Files: map[string]string{"run/": ""},
			then: (*looker).startAgain},
	},
	"09-ready": {
		Before: Run{Brief: true, look: []look{(*looker).readiness}, then: (*looker).startInVain},
		After:  Run{Brief: true, look: []look{(*looker).readiness}, then: (*looker).startInVain},
	},
	"10-refork": {
		Before: Run{Brief: true, Args: []string{"-config", "conf"}, Files: map[string]string{"conf": never}, then: (*looker).openTerminal},
		After:  Run{Brief: true, Args: []string{"-config", "conf"}, Files: map[string]string{"conf": never}, then: (*looker).openTerminal},
	},
	"11-privileges": {
		Before: Run{Brief: true, Env: map[string]string{"API_TOKEN": "secret"}, look: []look{(*looker).rights}},
		After:  Run{Brief: true, Env: map[string]string{"API_TOKEN": "secret"}, look: []look{(*looker).rights}},
	},
	"12-systemd": {
		Before: Run{Brief: true, Kin: true},
		After:  Run{Brief: true, Kin: true, Service: true},
	},
}

// terminate sends SIGTERM to the daemon, and says what that led to.
func (k *looker) terminate() (*Then, error) { return k.end(syscall.SIGTERM) }

// hangUp does the same with SIGHUP.
func (k *looker) hangUp() (*Then, error) { return k.end(syscall.SIGHUP) }

func (k *looker) end(sig syscall.Signal) (*Then, error) {
	if err := k.lab.Signal(k.pid, sig); err != nil {
		return nil, err
	}
	exit, err := k.lab.WaitExit(k.pid, deadline)
	if err != nil {
		return nil, err
	}
	left, err := k.left()
	return &Then{"after " + proc.SignalName(int(sig)), append([]Card{{Kind: Ended, Title: Daemon, Lines: []string{exit.String()}}}, left...)}, err
}

// left says what is left when a daemon has ended.
func (k *looker) left() (cards []Card, err error) {
	live, err := k.lab.Rest(deadline)
	if err != nil {
		return nil, err
	}
	live = slices.DeleteFunc(live, func(pid int) bool { return pid == k.pid })
	if len(live) > 0 {
		cards = append(cards, Card{Kind: Alive, Title: fmt.Sprintf("processes left: %d", len(live))})
	}
	own, err := k.own()
	switch {
	case err != nil:
		return nil, err
	case own != nil:
		cards = append(cards, Card{Kind: Thing, Title: Directory + " is left", Lines: []string{"mode " + own.Mode}, Files: own.Files})
	case len(live) == 0:
		cards = append(cards, Card{Kind: Ended, Title: "nothing left"})
	}
	return cards, nil
}

// readers says who has read the configuration. The kernel tells that a file was opened,
// but not by whom. Here there are only two who can have done it, and either is given
// the file's name.
func (k *looker) readers(s *Scene) error {
	opened := 0
	for _, mask := range k.opened.pending() {
		if mask&unix.IN_OPEN != 0 {
			opened++
		}
	}
	if opened != 2 {
		return fmt.Errorf("the configuration was opened %d times, and not once by the launcher and once by the daemon", opened)
	}
	for _, role := range []string{Launcher, Daemon} {
		p := s.process(role)
		p.Facts = append(p.Facts, "reads conf")
	}
	s.Cards = append(s.Cards, Card{Kind: Thing, Title: "conf", Lines: strings.Split(strings.TrimSpace(never), "\n")})
	return nil
}

// reload has the daemon load another configuration, with which it ticks.
func (k *looker) reload() (*Then, error) {
	const often = "every = 50ms"
	if err := os.WriteFile(filepath.Join(k.here, "conf"), []byte(often+"\n"), 0o644); err != nil {
		return nil, err
	}
	dir, err := k.ownPath()
	if err != nil {
		return nil, err
	}
	ticks := filepath.Join(dir, "ticks")
	if err := k.lab.Signal(k.pid, syscall.SIGHUP); err != nil {
		return nil, err
	}
	if err := await(dir, func() bool { return len(said(ticks)) > 1 }); err != nil {
		return nil, err
	}
	return &Then{"conf changed, then SIGHUP", []Card{
		{Kind: Thing, Title: "conf", Lines: []string{often}},
		{Kind: Alive, Title: Daemon, Lines: []string{"lives"}, Leads: true},
		{Kind: Thing, Title: "ticks", Lines: said(ticks)[:2]},
	}}, nil
}

// rotate renames the file that the daemon writes to, as logrotate(8) does, and sends
// SIGHUP.
func (k *looker) rotate() (*Then, error) {
	dir, err := k.ownPath()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "ticks")
	if _, err := os.Stat(file); err != nil {
		dir = k.here
		file = filepath.Join(dir, "log")
	}
	old := file + ".1"
	err = os.Rename(file, old)
	if err == nil {
		err = k.lab.Signal(k.pid, syscall.SIGHUP)
	}
	if err == nil {
		err = await(dir, func() bool {
			return slices.Contains(append(said(file), said(old)...), "configuration loaded")
		})
	}
	if err != nil {
		return nil, err
	}
	d, err := k.lab.State(k.pid)
	if err != nil {
		return nil, fmt.Errorf("look at the daemon: %w", err)
	}
	t := &Then{fmt.Sprintf("mv %[1]s %[1]s.1, SIGHUP", filepath.Base(file)),
		[]Card{{Kind: Alive, Title: Daemon, Lines: []string{"writes to"}, Leads: true}}}
	var others []Card
	for _, path := range []string{file, old} {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		c := Card{Kind: Thing, Title: filepath.Base(path), Lines: said(path)}
		if slices.ContainsFunc(d.FDs, func(fd proc.FD) bool { return fd.Target == path }) {
			t.Cards = append(t.Cards, c)
		} else {
			others = append(others, c)
		}
	}
	if len(t.Cards) != 2 {
		return nil, fmt.Errorf("the daemon writes to %d of the files, and not to one: %v", len(t.Cards)-1, d.FDs)
	}
	t.Cards = append(t.Cards, others...)
	return t, nil
}

// startAgain starts the same step once more, in the same way.
func (k *looker) startAgain() (*Then, error) {
	before, err := k.lab.Live()
	if err != nil {
		return nil, err
	}
	again, err := k.lab.Start(k.command)
	if err != nil {
		return nil, err
	}
	exit, err := again.Wait(deadline)
	if err != nil {
		return nil, err
	}
	live, err := k.lab.Rest(deadline)
	if err != nil {
		return nil, err
	}
	text, _, err := again.Output()
	if err != nil {
		return nil, err
	}
	t := &Then{Did: "started once more"}
	second := Card{Kind: Ended, Title: "second launcher", Lines: []string{exit.String()}}
	if why, ok := strings.CutPrefix(text, filepath.Base(k.command.Args[0])+": "); ok {
		why, _, _ = strings.Cut(why, ",")
		second.Lines = append(second.Lines, strings.TrimPrefix(why, "the daemon "))
	}
	t.Cards = append(t.Cards, second)
	for _, pid := range live {
		title := Daemon
		if !slices.Contains(before, pid) {
			title = "a second daemon"
		}
		t.Cards = append(t.Cards, Card{Kind: Alive, Title: title, Lines: []string{"lives"}})
	}
	return t, nil
}

// answerer returns the pid of the process that listens on the socket in the daemon's
// directory, by the kernel's account (SO_PEERCRED, unix(7)), if it answers; or else 0.
func (k *looker) answerer() (int, error) {
	dir, err := k.ownPath()
	if dir == "" || err != nil {
		return 0, err
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(dir, "status")})
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(deadline))
	if _, err := conn.Read(make([]byte, 64)); err != nil {
		return 0, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var peer *unix.Ucred
	err2 := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, err2); err != nil {
		return 0, err
	}
	return int(peer.Pid), nil
}

// readiness says whether the daemon was ready when its launcher had ended.
func (k *looker) readiness(s *Scene) error {
	if k.answered == k.pid {
		p := s.process(Launcher)
		p.Facts = append(p.Facts, "daemon is ready")
	}
	return nil
}

// startInVain starts the step once more, with a configuration that the launcher can
// read and the daemon cannot: /proc/self/cwd is each one's own working directory.
func (k *looker) startInVain() (*Then, error) {
	if err := k.lab.Signal(k.pid, syscall.SIGTERM); err != nil {
		return nil, err
	}
	if _, err := k.lab.WaitExit(k.pid, deadline); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(k.here, "daemonsteps.conf"), []byte(never), 0o644); err != nil {
		return nil, err
	}
	k.command.Args = []string{k.command.Args[0], "-config", "/proc/self/cwd/daemonsteps.conf"}
	session, err := k.lab.Start(k.command)
	if err != nil {
		return nil, err
	}
	k.info = session.Info
	exit, err := session.Wait(deadline)
	if err != nil {
		return nil, err
	}
	left, err := k.left()
	if err != nil {
		return nil, err
	}
	text, _, err := session.Output()
	if err != nil {
		return nil, err
	}
	launcher := Card{Kind: Ended, Title: Launcher, Lines: []string{exit.String()}}
	switch {
	case regexp.MustCompile(`^pid \d+\s*$`).MatchString(text):
		launcher.Lines = append(launcher.Lines, "says a pid")
	case strings.Contains(text, "no such file or directory"):
		launcher.Lines = append(launcher.Lines, "says why")
	}
	t := &Then{"a daemon that cannot start", []Card{launcher}}
	ended, err := k.lab.Ended()
	if err != nil {
		return nil, err
	}
	for _, o := range ended {
		if o.PID != k.pid {
			t.Cards = append(t.Cards, Card{Kind: Ended, Title: Daemon, Lines: []string{o.Exit.String()}})
		}
	}
	t.Cards = append(t.Cards, left...)
	return t, nil
}

// openTerminal has the daemon open a terminal that is nobody's, as a careless one may:
// it is where the configuration's name leads to by now.
func (k *looker) openTerminal() (*Then, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer master.Close()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	terminal := "pts/" + strconv.Itoa(number)
	conf := filepath.Join(k.here, "conf")
	dir, err2 := k.ownPath()
	if err := errors.Join(err, err2, os.Remove(conf), os.Symlink("/dev/"+terminal, conf), k.lab.Signal(k.pid, syscall.SIGHUP)); err != nil {
		return nil, err
	}
	err = await(dir, func() bool {
		return slices.ContainsFunc(said(filepath.Join(dir, "log")), func(line string) bool {
			return strings.Contains(line, "is not a regular file")
		})
	})
	if err != nil {
		return nil, err
	}
	d, err := k.lab.Stat(k.pid)
	if err != nil {
		return nil, fmt.Errorf("look at the daemon: %w", err)
	}
	screen := Card{Kind: Screen, Title: "another terminal", Lines: []string{"opened as conf"}}
	daemon := Card{Kind: Alive, Title: Daemon, Lines: []string{"no terminal"}}
	switch d.TTY {
	case terminal:
		screen.Leads = true
		daemon.Lines = []string{"has a terminal again"}
	case "":
	default:
		return nil, fmt.Errorf("the daemon's terminal is %s, and it has opened %s", d.TTY, terminal)
	}
	return &Then{"SIGHUP: conf is a terminal", []Card{screen, daemon}}, nil
}

// rights says what the daemon has of its caller's environment, and whether it can come
// to more rights. Everybody's daemon shows that; only root's can be another user's.
func (k *looker) rights(s *Scene) error {
	d, err := k.lab.State(k.pid)
	if err != nil {
		return fmt.Errorf("look at the daemon: %w", err)
	}
	c := Card{Kind: Thing, Title: "its environment has"}
	for _, name := range []string{"API_TOKEN", "PATH", "TMPDIR"} {
		if slices.Contains(d.Environ, name) {
			c.Files = append(c.Files, File{Name: name})
		}
	}
	s.Cards = append(s.Cards, c)
	p := s.process(Daemon)
	fact := "may gain rights"
	if d.NoNewPrivs {
		fact = "gains no rights"
	}
	p.Facts = append(p.Facts, fact)
	return nil
}

var (
	tickLine = regexp.MustCompile(`^daemon \d+: (.*)$`)
	logLine  = regexp.MustCompile(`\bmsg=(?:"((?:[^"\\]|\\.)*)"|(\S+))`)
)

// said returns what the lines of a log, or of a file of ticks, say. The last one may
// still be growing: it counts when it has an end.
func said(path string) (lines []string) {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(line, "\n") {
			break
		}
		line = strings.TrimSpace(line)
		if m := tickLine.FindStringSubmatch(line); m != nil {
			line = m[1]
		} else if m := logLine.FindStringSubmatch(line); m != nil {
			line = m[1] + m[2]
		}
		lines = append(lines, line)
	}
	return lines
}

// A watcher hears of what happens to a file (inotify(7)).
type watcher struct{ fd int }

func watch(path string, mask uint32) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	if _, err := unix.InotifyAddWatch(fd, path, mask); err != nil && !errors.Is(err, unix.ENOENT) {
		unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	return &watcher{fd}, nil
}

func (w *watcher) Close() error { return unix.Close(w.fd) }

// pending returns what has happened since the last time.
func (w *watcher) pending() (masks []uint32) {
	buf := make([]byte, 64<<10)
	n, _ := unix.Read(w.fd, buf)
	for at := 0; at+unix.SizeofInotifyEvent <= n; {
		e := buf[at:]
		masks = append(masks, binary.NativeEndian.Uint32(e[4:]))
		at += unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(e[12:]))
	}
	return masks
}

// await waits until ok, which it asks again whenever something happens in dir.
func await(dir string, ok func() bool) error {
	w, err := watch(dir, unix.IN_CREATE|unix.IN_MODIFY|unix.IN_MOVED_TO)
	if err != nil {
		return err
	}
	defer w.Close()
	for end := time.Now().Add(deadline); !ok(); w.pending() {
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("wait for what is written in %s: %w", dir, lab.ErrTimeout)
		}
		poll := []unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, int(left.Milliseconds())+1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
	return nil
}
