//go:build linux

package lab

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// The arguments and replies of the guardian's calls, where they are not basic
// types or those of the package's interface.
type (
	Nothing struct{}
	Hello   struct {
		PID         int
		Place       string
		Error       string // why there can be no guardian
		NoNamespace bool   // Error wraps ErrNoNamespace.
	}
	Timed struct { // ID is a session or a pid, as the call says
		ID      int
		Timeout time.Duration
	}
	Typed struct {
		ID   int
		Text string
	}
	SignalArgs struct {
		PID    int
		Signal syscall.Signal
	}
	Output     struct{ Out, Err []byte } // JSON carries no string that is not UTF-8
	StateReply struct {
		Process proc.Process
		Gone    bool
		Error   string
	}
)

// Guardian is the far end of a Lab. Its methods are called by the Lab.
type Guardian struct {
	hello Hello

	// zombies are the pids of children of ours that were seen to have ended. Nobody
	// but endAll reaps them, so they need no second look: a program that starts itself
	// for ever leaves thousands.
	zombies sync.Map

	mu       sync.Mutex
	closed   bool
	sessions []*session
	passed   *os.File // the socket of Listen, or nil
	mounts   []string
}

// handled are the signals that guardian and shell live through. A handled signal is
// at its default action in what they start, also if they found it ignored
// (execve(2)). The Go runtime handles all others that it lets anybody handle, from
// the start; to name them all here would cost a start 3 ms more.
var handled = []os.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE, syscall.SIGALRM,
	syscall.SIGTERM, syscall.SIGCONT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU,
}

// guardianMain runs the guardian until its Lab closes the connection, or a
// signal ends it. Either way it cleans up.
func guardianMain() int {
	g, conn, err := newGuardian(len(os.Args) > 1)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab guardian:", err)
		return 1
	}
	signal.Notify(make(chan os.Signal, 1), handled...)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	served := make(chan struct{})
	go func() {
		defer close(served)
		serve(conn, map[string]handler{
			"Hello": handle(g.Hello), "Start": handle(g.Start), "WaitLauncher": handle(g.WaitLauncher),
			"Output": handle(g.Output), "WaitOutput": handle(g.WaitOutput), "WaitScreen": handle(g.WaitScreen), "PipesEnded": handle(g.PipesEnded),
			"StopReading": handle(g.StopReading), "Hangup": handle(g.Hangup), "Type": handle(g.Type),
			"Live": handle(g.Live), "Adopted": handle(g.Adopted), "Ended": handle(g.Ended), "Rest": handle(g.Rest),
			"Stat": handle(g.Stat), "State": handle(g.State), "Signal": handle(g.Signal),
			"WaitExit": handle(g.WaitExit), "Clear": handle(g.Clear),
			"Listen": handle(g.Listen), "Queued": handle(g.Queued),
			"Notices": handle(g.Notices), "WaitNotice": handle(g.WaitNotice),
			"Mount": handle(g.Mount), "Unmount": handle(g.Unmount),
		})
	}()
	select {
	case <-served:
	case <-stop:
	}
	if err := g.close(); err != nil {
		fmt.Fprintln(os.Stderr, "lab guardian:", err)
		return 1
	}
	return 0
}

// strayGroup is a group that nobody is in.
const strayGroup = 4242

func newGuardian(asInit bool) (*Guardian, *os.File, error) {
	// The surroundings of a Lab do not depend on who started it.
	if err := closeOnExec(); err != nil {
		return nil, nil, err
	}
	syscall.Umask(0o022)
	DefaultOfCLibrary()
	if os.Geteuid() == 0 { // Who becomes another user must give up groups; not all roots have some.
		syscall.Setgroups([]int{0, strayGroup}) // A user namespace may deny that.
	}
	conn, err := inheritedSocket()
	if err != nil {
		return nil, nil, err
	}
	g := &Guardian{hello: Hello{PID: os.Getpid()}}
	if asInit {
		err = ownProc()
		g.hello.NoNamespace = err != nil
	} else if err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		err = fmt.Errorf("become a child subreaper: %w", err)
	}
	if err == nil {
		g.hello.Place, err = makePlace()
	}
	if err != nil {
		g.hello.Error = err.Error()
	}
	return g, conn, nil
}

// DefaultOfCLibrary sets two signals to their default action that os/signal does not
// know. The C library keeps them for itself, and make(1) starts all its commands with
// both ignored (posix_spawn(3)).
func DefaultOfCLibrary() {
	for sig := uintptr(32); sig <= 33; sig++ {
		var action [4]uintptr // the kernel's struct sigaction: handler, flags, restorer, mask
		_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0)
		if errno == 0 && action[0] == 1 { // SIG_IGN
			action = [4]uintptr{} // SIG_DFL
			unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
		}
	}
}

func makePlace() (string, error) {
	tmp, err := filepath.Abs(os.TempDir()) // What we start is somewhere else.
	if err != nil {
		return "", fmt.Errorf("make a place for the lab: %w", err)
	}
	place, err := os.MkdirTemp(tmp, "lab-")
	if err != nil {
		return "", fmt.Errorf("make a place for the lab: %w", err)
	}
	// A daemon that gives up root must still be able to come here.
	return place, os.Chmod(place, 0o755)
}

// ownProc mounts the /proc of a new PID namespace, seen from nowhere else.
func ownProc() error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount proc on /proc: %w", err)
	}
	return nil
}

func (g *Guardian) Hello(_ Nothing, reply *Hello) error {
	*reply = g.hello
	return nil
}

// Start starts a command on a terminal of its own, or as a service on none.
func (g *Guardian) Start(c Command, reply *SessionInfo) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed { // The call was under way when the Lab ended.
		return errors.New("start a command: the lab is closed")
	}
	s, err := newSession(g.hello.Place, len(g.sessions), c, g.passed)
	if s != nil {
		g.sessions = append(g.sessions, s) // Even a failed one has things to clean up.
	}
	if err != nil {
		return err
	}
	*reply = s.info
	return nil
}

func (g *Guardian) session(id int) (*session, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if id < 0 || id >= len(g.sessions) || g.sessions[id] == nil {
		return nil, fmt.Errorf("no session %d", id)
	}
	return g.sessions[id], nil
}

// WaitLauncher waits for the end of a session's command.
func (g *Guardian) WaitLauncher(t Timed, reply *Exit) error {
	s, err := g.session(t.ID)
	if err != nil {
		return err
	}
	if s.shell == nil { // The command is our own child.
		*reply, err = g.waitExit(s.info.Launcher, t.Timeout)
		return err
	}
	deadline := time.Now().Add(t.Timeout)
	select {
	case <-s.launcherEnded:
	case <-time.After(t.Timeout):
		return g.timeout("the command (pid %d) has not ended after %v", s.info.Launcher, t.Timeout)
	}
	if *reply = s.launcherExit; s.launcherErr == nil {
		return nil
	}
	// The shell has gone before the command, which is our child now.
	*reply, err = g.waitExit(s.info.Launcher, time.Until(deadline))
	if err != nil && !errors.Is(err, ErrTimeout) {
		err = errors.Join(s.launcherErr, err)
	}
	return err
}

func (g *Guardian) Output(id int, reply *Output) error {
	s, err := g.session(id)
	if err != nil {
		return err
	}
	*reply = s.output()
	return nil
}

func (g *Guardian) PipesEnded(id int, reply *bool) error {
	s, err := g.session(id)
	if err != nil {
		return err
	}
	*reply, err = s.pipesEnded()
	return err
}

func (g *Guardian) Hangup(id int, _ *Nothing) error {
	s, err := g.session(id)
	if err != nil {
		return err
	}
	return s.hangup()
}

func (g *Guardian) Type(t Typed, _ *Nothing) error {
	s, err := g.session(t.ID)
	if err != nil {
		return err
	}
	return s.typeText(t.Text)
}

// shells returns the pids of the Lab's own helpers.
func (g *Guardian) shells() map[int]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := map[int]bool{}
	for _, s := range g.sessions {
		if s != nil && s.shell != nil {
			own[s.shell.pid] = true
		}
	}
	return own
}

func oldestFirst(pids []int) {
	start := map[int]uint64{}
	for _, pid := range pids {
		if st, err := proc.ReadStat(pid); err == nil {
			start[pid] = st.Start
		}
	}
	slices.SortFunc(pids, func(a, b int) int {
		return cmp.Or(cmp.Compare(start[a], start[b]), cmp.Compare(a, b))
	})
}

func (g *Guardian) Live(_ Nothing, reply *[]int) error {
	l := g.look()
	for range 100 { // Enough for all but one that starts itself for ever.
		if l.whole {
			break
		}
		l = g.look()
	}
	*reply = l.live
	return nil
}

func (g *Guardian) Adopted(_ Nothing, reply *[]int) error {
	children, err := proc.Children(os.Getpid())
	own := g.shells()
	for _, pid := range children {
		if threads, err := proc.Threads(pid); err == nil && !proc.Ended(threads) && !own[pid] {
			*reply = append(*reply, pid)
		}
	}
	return err
}

// isZombie says whether a child of ours has ended.
func (g *Guardian) isZombie(pid int) bool {
	if _, known := g.zombies.Load(pid); known {
		return true
	}
	threads, _, err := proc.Glance(pid)
	if err == nil && proc.Ended(threads) {
		g.zombies.Store(pid, true)
		return true
	}
	return false
}

func (g *Guardian) Ended(_ Nothing, reply *[]Orphan) error {
	children, err := proc.Children(os.Getpid())
	if err != nil {
		return err
	}
	g.mu.Lock()
	known := map[int]bool{}
	for _, s := range g.sessions {
		if s != nil {
			known[s.info.Leader], known[s.info.Launcher] = true, true
		}
	}
	g.mu.Unlock()
	var zombies []int
	for _, pid := range children {
		if !known[pid] && g.isZombie(pid) {
			zombies = append(zombies, pid)
		}
	}
	oldestFirst(zombies)
	for _, pid := range zombies {
		exit, err := g.exitOfZombie(pid)
		if err != nil {
			return err
		}
		*reply = append(*reply, Orphan{pid, exit})
	}
	return nil
}

func (g *Guardian) Stat(pid int, reply *proc.Stat) (err error) {
	*reply, err = proc.ReadStat(pid)
	return err
}

// timeout is an error that wraps ErrTimeout and shows the processes concerned.
func (g *Guardian) timeout(format string, args ...any) error {
	var b strings.Builder
	fmt.Fprintf(&b, format, args...)
	for i, pid := range g.look().live {
		if i == 10 {
			b.WriteString("; and more")
			break
		}
		st, err := proc.ReadStat(pid)
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "; pid %d (%s) state %s ppid %d sid %d", st.PID, st.Comm, st.State, st.PPID, st.SID)
	}
	return fmt.Errorf("%w: %s", ErrTimeout, b.String())
}

func (g *Guardian) State(pid int, reply *StateReply) error {
	p, err := proc.Read(pid)
	if p != nil {
		reply.Process = *p
	}
	if err != nil {
		reply.Error, reply.Gone = err.Error(), errors.Is(err, proc.ErrGone)
	}
	return nil
}

// open returns a pidfd of a process of this Lab.
func (g *Guardian) open(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("open a pidfd of process %d: %w", pid, err)
	}
	// The pidfd is open, so pid is the process that it names, or its zombie.
	up := pid
	for {
		st, err := proc.ReadStat(up)
		switch {
		case err == nil && up != os.Getpid() && st.PPID == os.Getpid():
			return fd, nil
		case err == nil && up != os.Getpid() && st.PPID > 0:
			up = st.PPID
		case err != nil && up != pid: // It is gone: its children have another parent now.
			up = pid
		default:
			unix.Close(fd)
			return -1, fmt.Errorf("process %d is not one of this lab", pid)
		}
	}
}

func (g *Guardian) Signal(a SignalArgs, _ *Nothing) error {
	fd, err := g.open(a.PID)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, a.Signal, nil, 0); err != nil {
		return fmt.Errorf("send %s to process %d: %w", proc.SignalName(int(a.Signal)), a.PID, err)
	}
	return nil
}

func (g *Guardian) WaitExit(t Timed, reply *Exit) (err error) {
	g.mu.Lock()
	id := slices.IndexFunc(g.sessions, func(s *session) bool { return s != nil && s.info.Launcher == t.ID })
	g.mu.Unlock()
	if id >= 0 { // The shell waits for it, and tells us.
		return g.WaitLauncher(Timed{id, t.Timeout}, reply)
	}
	*reply, err = g.waitExit(t.ID, t.Timeout)
	return err
}

func (g *Guardian) waitExit(pid int, timeout time.Duration) (Exit, error) {
	fd, err := g.open(pid)
	if err != nil {
		return Exit{}, err
	}
	defer unix.Close(fd)
	ready, err := poll(fd, unix.POLLIN, timeout) // pidfd_open(2): readable when it has ended
	if err != nil {
		return Exit{}, fmt.Errorf("wait for process %d: %w", pid, err)
	}
	if ready == 0 {
		return Exit{}, g.timeout("process %d has not ended after %v", pid, timeout)
	}
	return g.exitOf(pid, fd)
}

// exitOfZombie is exitOf for a child of ours that has ended.
func (g *Guardian) exitOfZombie(pid int) (Exit, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return Exit{}, fmt.Errorf("open a pidfd of process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	return g.exitOf(pid, fd)
}

// exitOf reads how a process ended, and leaves it unreaped (WNOWAIT, waitid(2)).
// Only its parent can do that. If that is one of our shells, which waits for its
// own command alone, the shell has to go: its children are ours then.
func (g *Guardian) exitOf(pid, pidfd int) (Exit, error) {
	for {
		var info struct { // siginfo_t of SIGCHLD, see sigaction(2), on a 64-bit system
			signo, errno, code, _ int32
			pid, uid, status      int32
			_                     [100]byte
		}
		err := unix.Waitid(unix.P_PIDFD, pidfd, (*unix.Siginfo)(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
		switch {
		case err == nil && info.code == 1: // CLD_EXITED
			return Exit{Status: int(info.status)}, nil
		case err == nil:
			return Exit{Signal: syscall.Signal(info.status)}, nil
		case err != unix.ECHILD && err != unix.EINTR:
			return Exit{}, fmt.Errorf("wait for process %d: %w", pid, err)
		}
		st, err := proc.ReadStat(pid)
		if err != nil {
			return Exit{}, fmt.Errorf("wait for process %d: its own parent has: %w", pid, err)
		}
		if st.PPID == os.Getpid() {
			continue
		}
		if !g.endShell(st.PPID) {
			return Exit{}, fmt.Errorf("wait for process %d: only its parent, process %d, can", pid, st.PPID)
		}
	}
}

// endShell ends one of our shells, and waits until it is gone. It takes SIGKILL:
// the shell does not listen to us while its command runs.
func (g *Guardian) endShell(pid int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.sessions {
		if s != nil && s.shell != nil && s.shell.pid == pid {
			unix.Kill(pid, unix.SIGKILL) // It is our child: the pid is its own.
			return s.shell.wait() == nil
		}
	}
	return false
}

func newExit(ws syscall.WaitStatus) Exit {
	if ws.Signaled() {
		return Exit{Signal: ws.Signal()}
	}
	return Exit{Status: ws.ExitStatus()}
}

// poll waits for events on one descriptor, and returns those that came, or 0
// after the timeout.
func poll(fd int, events int16, timeout time.Duration) (int16, error) {
	deadline := time.Now().Add(timeout)
	for {
		left := min(max(0, time.Until(deadline)), time.Hour) // poll(2) counts in 31 bits.
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond))
		if err != unix.EINTR && (err != nil || n > 0 || !time.Now().Before(deadline)) {
			return fds[0].Revents, err
		}
	}
}

// needInit is an error where a mount would be everybody's.
func (g *Guardian) needInit(op, dir string) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("%s %s: only in a lab with Options.Init", op, dir)
	}
	return nil
}

func (g *Guardian) Mount(dir string, _ *Nothing) error {
	if err := g.needInit("mount", dir); err != nil {
		return err
	}
	if err := unix.Mount("lab", dir, "tmpfs", 0, "size=1m,mode=755"); err != nil {
		return &os.PathError{Op: "mount", Path: dir, Err: err}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mounts = append(g.mounts, dir)
	return nil
}

func (g *Guardian) Unmount(dir string, reply *syscall.Errno) error {
	if err := g.needInit("umount", dir); err != nil {
		return err
	}
	err := unix.Unmount(dir, 0)
	if err != nil && !errors.As(err, reply) {
		return err
	}
	return nil
}

// Clear ends all processes below the guardian, and the sessions.
func (g *Guardian) Clear(_ Nothing, _ *Nothing) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.sessions {
		if s != nil {
			s.close()
		}
	}
	err := g.endAll()
	if g.passed != nil {
		g.passed.Close()
		g.passed = nil
	}
	for i, s := range g.sessions {
		if s != nil {
			err = errors.Join(err, removeAll(filepath.Dir(s.info.Start)))
		}
		g.sessions[i] = nil
	}
	return err
}

// endAll ends all processes below this one.
//
// A process that has been sent SIGKILL starts no other one any more: fork(2)
// looks for signals first. What it has started so far becomes our child when it
// ends, and is there in the next round. Since each round ends all that it sees,
// and nobody is anybody else's child at last, there is nobody left when wait(2)
// says that we have no child.
func (g *Guardian) endAll() error {
	for {
		children, err := proc.Children(os.Getpid())
		if err != nil {
			return fmt.Errorf("list the children of the guardian: %w", err)
		}
		// The newest first: it is the one that may be about to start another.
		for _, pid := range slices.Backward(children) {
			// Nobody but we ourselves reaps a child of ours: the pid is its own.
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
		}
		// They end, each as soon as it can. What they leave comes with the next list.
		for _, pid := range children {
			for err = unix.EINTR; err == unix.EINTR; {
				_, err = unix.Wait4(pid, nil, unix.WALL, nil)
			}
			if err != nil && err != unix.ECHILD {
				return fmt.Errorf("wait for process %d: %w", pid, err)
			}
		}
		g.zombies.Clear()
		if len(children) == 0 { // The list may have missed one. wait(2) does not.
			if _, err := unix.Wait4(-1, nil, unix.WALL|unix.WNOHANG, nil); err == unix.ECHILD {
				return nil
			}
		}
	}
}

// close is Clear, and takes the place away as well.
func (g *Guardian) close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	err := g.Clear(Nothing{}, &Nothing{})
	for _, dir := range slices.Backward(g.mounts) { // Nobody is left who could keep them busy.
		if e := unix.Unmount(dir, 0); e != nil && e != unix.EINVAL && e != unix.ENOENT {
			err = errors.Join(err, &os.PathError{Op: "umount", Path: dir, Err: e})
		}
	}
	g.mounts = nil
	if g.hello.Place != "" {
		err = errors.Join(err, removeAll(g.hello.Place))
	}
	return err
}

// removeAll is os.RemoveAll also for directories that a daemon has locked.
func removeAll(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
