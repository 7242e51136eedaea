//go:build linux

package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A session is the guardian's side of a Session.
type session struct {
	info     SessionInfo
	master   *os.File // nil for Service, as are the next two
	terminal *os.File // ours stays open, so that the master is not at its end
	screen   *collector
	pipes    []*collector // standard output and error, with Command.Pipe
	shell    *shell       // nil for Direct and Service
	mail     *mailbox     // what a Service says; nil for the others

	launcherEnded chan struct{} // closed when the next two are set; with a shell
	launcherExit  Exit
	launcherErr   error
}

// shellTime is how long a shell may take to end.
const shellTime = 10 * time.Second

// A shell is the process that leads the terminal's session.
type shell struct {
	pid  int
	conn *os.File
}

// newSession starts c, and passes it a socket, if there is one to pass. It returns what
// there is to clean up also with an error.
func newSession(place string, id int, c Command, passed *os.File) (*session, error) {
	dir := filepath.Join(place, strconv.Itoa(id))
	s := &session{launcherEnded: make(chan struct{}), info: SessionInfo{
		ID: id, Start: filepath.Join(dir, "start"), TmpDir: filepath.Join(dir, "tmp"),
	}}
	if len(c.Args) == 0 {
		return nil, errors.New("start a command: no command given")
	}
	for path, mode := range map[string]os.FileMode{s.info.Start: 0o755, s.info.TmpDir: 0o777 | os.ModeSticky} {
		if err := errors.Join(os.MkdirAll(path, 0o755), os.Chmod(path, mode)); err != nil {
			return s, err
		}
	}
	if c.Dir == "" {
		c.Dir = s.info.Start
	}
	var err error
	if c.Way != Service {
		if s.master, s.terminal, s.info.TTY, err = openTerminal(); err != nil {
			return s, err
		}
		if s.screen, err = collect(s.master); err != nil {
			return s, err
		}
	}
	out := []*os.File{s.terminal, s.terminal}
	if c.Pipe || c.Way == Service {
		for i := range out {
			if out[i], err = s.newPipe(); err != nil {
				return s, err
			}
			defer out[i].Close()
		}
	}
	env := commandEnv(os.Environ(), c.Env, map[string]string{"PWD": c.Dir, "TMPDIR": s.info.TmpDir})
	switch c.Way {
	case Service:
		err = s.startService(c, filepath.Join(dir, "notify"), out, passed)
	case Direct:
		err = s.startDirect(c, env, out)
	case Job, Script:
		err = s.startShell(c, env, out)
	default:
		err = fmt.Errorf("no such way: %q", c.Way)
	}
	if err != nil {
		return s, fmt.Errorf("start %s: %w", c.Args[0], err)
	}
	return s, nil
}

// commandEnv returns an environment with some variables in place of its own.
func commandEnv(env []string, with, always map[string]string) []string {
	set := map[string]string{}
	maps.Copy(set, with)
	maps.Copy(set, always)
	env = slices.DeleteFunc(env, func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		_, replaced := set[name]
		return replaced // Of two entries of one name some programs take the first.
	})
	for _, name := range slices.Sorted(maps.Keys(set)) {
		env = append(env, name+"="+set[name])
	}
	return env
}

func (s *session) newPipe() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(w.Fd()), &st); err != nil {
		return nil, fmt.Errorf("stat a pipe: %w", err)
	}
	s.info.Pipes = append(s.info.Pipes, File{Dev: st.Dev, Ino: st.Ino})
	c, err := collect(r)
	if err != nil {
		return nil, err
	}
	s.pipes = append(s.pipes, c)
	return w, nil
}

// files returns the descriptors that the command is to have: 0 to 2, and those
// that are left open for it.
func files(terminal *os.File, out []*os.File, hold map[int]string) (list []*os.File, closeHeld func(), err error) {
	list = []*os.File{terminal, out[0], out[1]}
	var held []*os.File
	closeHeld = func() {
		for _, f := range held {
			f.Close()
		}
	}
	for _, fd := range slices.Sorted(maps.Keys(hold)) {
		if fd < 3 {
			return nil, closeHeld, fmt.Errorf("hold descriptor %d: not 3 or above", fd)
		}
		// O_NONBLOCK, since a FIFO would keep us until it has a writer (fifo(7)).
		f, err := os.OpenFile(hold[fd], os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err == nil {
			err = unix.SetNonblock(int(f.Fd()), false)
		}
		if err != nil {
			return nil, closeHeld, fmt.Errorf("hold descriptor %d: %w", fd, err)
		}
		held = append(held, f)
		for len(list) <= fd {
			list = append(list, nil) // closed in the child
		}
		list[fd] = f
	}
	return list, closeHeld, nil
}

// startDirect starts the command as the leader of the terminal's session.
func (s *session) startDirect(c Command, env []string, out []*os.File) error {
	list, closeHeld, err := files(s.terminal, out, c.Hold)
	defer closeHeld()
	if err != nil {
		return err
	}
	// Not through os/exec: its Wait would reap the command.
	p, err := startBlocked(nil, c.Args[0], c.Args, &os.ProcAttr{Dir: c.Dir, Env: env, Files: list,
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}})
	if err != nil {
		return err
	}
	s.info.Launcher, s.info.Leader = p.Pid, p.Pid
	return p.Release()
}

// startShell starts a shell on the terminal, and has it start the command.
func (s *session) startShell(c Command, env []string, out []*os.File) error {
	conn, theirs, err := SocketPair()
	if err != nil {
		return err
	}
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{shellName}
	cmd.Dir = "/"
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.terminal, s.terminal, s.terminal
	cmd.ExtraFiles = []*os.File{theirs, out[0], out[1]}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		conn.Close()
		return fmt.Errorf("start the shell: %w", err)
	}
	s.shell = &shell{pid: cmd.Process.Pid, conn: conn}
	s.info.Leader = cmd.Process.Pid
	if err := json.NewEncoder(conn).Encode(c); err != nil {
		return fmt.Errorf("tell the shell: %w", err)
	}
	events := json.NewDecoder(conn)
	conn.SetReadDeadline(time.Now().Add(shellTime)) // Clear has to wait for us.
	defer conn.SetReadDeadline(time.Time{})
	var started shellEvent
	if err := events.Decode(&started); err != nil {
		return fmt.Errorf("hear from the shell (pid %d): %w", s.shell.pid, err)
	}
	if started.Error != "" {
		return errors.New(started.Error)
	}
	s.info.Launcher = started.PID
	go func() {
		var ended shellEvent
		if err := events.Decode(&ended); err != nil {
			s.launcherErr = fmt.Errorf("wait for the command (pid %d): the shell that started it is gone", started.PID)
		} else {
			s.launcherExit = newExit(syscall.WaitStatus(ended.Status))
		}
		close(s.launcherEnded)
	}()
	return nil
}

func (s *session) output() Output {
	if len(s.pipes) == 0 {
		return Output{Out: s.screen.shown(s.terminal)}
	}
	return Output{Out: s.pipes[0].written(), Err: s.pipes[1].written()}
}

func (s *session) pipesEnded() (bool, error) {
	if len(s.pipes) == 0 {
		return false, errors.New("the command has no pipes")
	}
	for _, p := range s.pipes {
		if ended, err := p.ended(); err != nil || !ended {
			return false, err
		}
	}
	return true, nil
}

// typeText types on the terminal. The kernel looks at what was typed in the
// background, and a ^C makes it send SIGINT first and then echo "^C". So the echo
// shows that the signal has been sent.
func (s *session) typeText(text string) error {
	if s.master == nil {
		return errors.New("type on the terminal: the command has none")
	}
	// One at a time: a ^C throws away what waits to be shown, also an echo.
	for _, part := range strings.SplitAfter(text, "\x03") {
		echoed := s.screen.count("^C")
		if _, err := s.master.WriteString(part); err != nil {
			return fmt.Errorf("type on the terminal: %w", err)
		}
		ok := s.screen.wait(shellTime, func(shown []byte) bool {
			return bytes.Count(shown, []byte("^C")) >= echoed+strings.Count(part, "\x03")
		})
		if !ok {
			return fmt.Errorf("type on the terminal: no echo of ^C after %v", shellTime)
		}
	}
	return nil
}

func (s *session) hangup() error {
	if s.master == nil {
		return errors.New("hang up the terminal: the command has none")
	}
	// The kernel sends SIGHUP to the session's leader when the last descriptor of
	// the master is closed. When the leader has ended of it, the foreground process
	// group gets one too (credentials(7)); so the shell's end is waited for.
	s.screen.close()
	s.terminal.Close()
	if s.shell != nil {
		return s.shell.wait()
	}
	return nil
}

// wait waits until the shell is gone.
func (sh *shell) wait() error {
	fd, err := unix.PidfdOpen(sh.pid, 0)
	if err != nil {
		return fmt.Errorf("open a pidfd of the shell (pid %d): %w", sh.pid, err)
	}
	defer unix.Close(fd)
	if ready, err := poll(fd, unix.POLLIN, shellTime); ready == 0 || err != nil {
		return fmt.Errorf("the shell (pid %d) has not ended after %v: %w", sh.pid, shellTime, err)
	}
	return nil
}

// close lets go of all that the session holds open, processes apart.
func (s *session) close() {
	if s.screen != nil {
		s.screen.close()
		s.terminal.Close()
	}
	for _, p := range s.pipes {
		p.close()
	}
	if s.shell != nil {
		s.shell.conn.Close()
	}
	if s.mail != nil {
		s.mail.close()
	}
}
