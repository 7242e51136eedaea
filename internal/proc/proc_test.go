//go:build linux

package proc

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// child is a process that ends when its standard input ends.
type child struct {
	*exec.Cmd
	stdin io.WriteCloser
	out   *bufio.Reader
}

// start starts cmd, which must copy its standard input to its output as cat
// does, and end it when the test ends. A line goes there and back, because exec
// returns to the parent before the new program has its name and arguments.
func start(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	c := launch(t, cmd)
	if _, err := io.WriteString(c.stdin, "ready\n"); err != nil {
		t.Fatal(err)
	}
	if line := c.line(t); line != "ready" {
		t.Fatalf("child answers %q, want \"ready\"", line)
	}
	return c
}

func launch(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd, stdin, bufio.NewReader(stdout)}
	t.Cleanup(func() {
		stdin.Close()
		io.Copy(io.Discard, c.out) // until everyone who holds the pipe has ended
		cmd.Wait()
	})
	return c
}

func (c *child) line(t *testing.T) string {
	t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("read from child: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// waitFor waits until the process is in the state that option names. It leaves
// the state as it is, so that the test can look at it.
func waitFor(t *testing.T, pid, option int) {
	t.Helper()
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, option|unix.WNOWAIT, nil)
		if err == nil {
			return
		}
		if err != unix.EINTR {
			t.Fatalf("waitid %d: %v", pid, err)
		}
	}
}

func mustRead(t *testing.T, pid int) *Process {
	t.Helper()
	p, err := Read(pid)
	if err != nil {
		t.Fatalf("Read(%d): %v", pid, err)
	}
	return p
}

// equal compares what Read says with what another source says.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %#v, want %#v", what, got, want)
	}
}

// The main thread is what /proc/PID/status shows, and it cannot end before the
// process does. This keeps it for the main goroutine, away from the tests.
func init() { runtime.LockOSThread() }

// onThread runs f on a thread of its own and ends the thread. Whatever f does
// to the thread dies with it.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		f()
	}()
	<-done
}

func TestReadSelf(t *testing.T) {
	p := mustRead(t, os.Getpid())

	equal(t, "pid", p.PID, os.Getpid())
	equal(t, "ppid", p.PPID, os.Getppid())
	equal(t, "pgid", p.PGID, unix.Getpgrp())
	sid, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "sid", p.SID, sid)
	equal(t, "cmdline", p.Cmdline, os.Args)
	cwd, err := unix.Getwd() // the system call; os.Getwd believes $PWD
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "cwd", p.Cwd, cwd)
	equal(t, "root", p.Root, "/")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "exe", p.Exe, exe)
	umask := unix.Umask(0)
	unix.Umask(umask)
	equal(t, "umask", p.Umask, Mode(umask))

	r, e, s := unix.Getresuid()
	equal(t, "uids", p.UIDs, IDs{r, e, s, e}) // the fs ID follows the effective one
	r, e, s = unix.Getresgid()
	equal(t, "gids", p.GIDs, IDs{r, e, s, e})
	groups, err := unix.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(groups)
	equal(t, "groups", p.Groups, append([]int{}, groups...))

	// The Go runtime catches SIGURG to interrupt its goroutines.
	if !slices.Contains(p.Caught, "SIGURG") {
		t.Errorf("caught: %v does not have SIGURG", p.Caught)
	}
}

func TestReadNameWithBrackets(t *testing.T) {
	const name = "a) S 1\n(b c" // shorter than the 15 bytes the kernel keeps
	cat, err := exec.LookPath("cat")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(cat, path); err != nil {
		t.Fatal(err)
	}
	c := start(t, &exec.Cmd{Path: path, Args: []string{"cat"}})

	p := mustRead(t, c.Process.Pid)
	equal(t, "comm", p.Comm, name)
	equal(t, "ppid", p.PPID, os.Getpid())
	equal(t, "cmdline", p.Cmdline, []string{"cat"})
}

func TestReadCmdlineWithEmptyArguments(t *testing.T) {
	args := []string{"sh", "-c", "read x; echo $x; read x", "", "two words", ""}
	c := start(t, exec.Command(args[0], args[1:]...))
	equal(t, "cmdline", mustRead(t, c.Process.Pid).Cmdline, args)
}

func TestReadSession(t *testing.T) {
	cmd := exec.Command("cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c := start(t, cmd)

	// setsid(2): the leader of a new session and group has no terminal.
	p := mustRead(t, c.Process.Pid)
	equal(t, "sid", p.SID, c.Process.Pid)
	equal(t, "pgid", p.PGID, c.Process.Pid)
	equal(t, "tty", p.TTY, "")
	equal(t, "tty_nr", p.TTYNr, 0)
}

func TestReadTerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudoterminal: %v", err)
	}
	defer master.Close()
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("pts/%d", number)
	slave, err := os.OpenFile("/dev/"+name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudoterminal: %v", err)
	}
	defer slave.Close()

	cmd := exec.Command("cat")
	cmd.ExtraFiles = []*os.File{slave} // becomes 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
	c := start(t, cmd)

	equal(t, "tty", mustRead(t, c.Process.Pid).TTY, name)
}

func TestTTYName(t *testing.T) {
	// The kernel's devices.txt gives the names, and its new_encode_dev the
	// numbers: the low 8 bits of the minor, 12 bits of the major, and the high
	// 12 bits of the minor.
	for nr, want := range map[int]string{
		0:                "",
		0x8800:           "pts/0",
		0x8803:           "pts/3",
		0x1088ff:         "pts/511", // minor 0x1ff
		0x8900:           "pts/256", // the first of major 137
		0x0401:           "tty1",
		0x043f:           "tty63",
		0x0440:           "ttyS0",
		0x0443:           "ttyS3",
		0x0501:           "5:1",
		0x9000:           "144:0",
		-0x80000000 + 10: "0:524298", // minor 0x8000a, printed as a negative number
	} {
		equal(t, fmt.Sprintf("ttyName(%#x)", nr), ttyName(nr), want)
	}
}

func TestReadFDs(t *testing.T) {
	dir := t.TempDir()
	open := func(path string, flags int) *os.File {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), path)
		t.Cleanup(func() { f.Close() })
		return f
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	sockets, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	socket, peer := os.NewFile(uintptr(sockets[0]), ""), os.NewFile(uintptr(sockets[1]), "")
	defer socket.Close()
	defer peer.Close()
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	anon := os.NewFile(uintptr(epoll), "")
	defer anon.Close()
	link := filepath.Join(dir, "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	gone := open(file, unix.O_RDWR|unix.O_CREAT)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}

	files := []*os.File{ // from 3 on
		open("/dev/null", unix.O_RDONLY), r, w, open(dir, unix.O_RDONLY),
		open(dir, unix.O_PATH), open(link, unix.O_PATH|unix.O_NOFOLLOW), gone, socket, anon,
	}
	cmd := exec.Command("cat")
	cmd.Stderr = open("/dev/null", unix.O_WRONLY)
	cmd.ExtraFiles = files
	c := start(t, cmd)
	p := mustRead(t, c.Process.Pid)

	// Whoever started the tests may have left more descriptors open.
	if len(p.FDs) < 3+len(files) {
		t.Fatalf("%d descriptors, want %d at least: %v", len(p.FDs), 3+len(files), p.FDs)
	}
	for i, want := range []struct {
		kind, access, target string
	}{
		{"pipe", "r", "pipe:["},
		{"pipe", "w", "pipe:["},
		{"char", "w", "/dev/null"},
		{"char", "r", "/dev/null"},
		{"pipe", "r", "pipe:["},
		{"pipe", "w", "pipe:["},
		{"dir", "r", dir},
		{"dir", "path", dir},
		{"symlink", "path", link},
		{"file", "rw", file + " (deleted)"},
		{"socket", "rw", "socket:["},
		{"anon", "rw", "anon_inode:[eventpoll]"},
	} {
		f := p.FDs[i]
		equal(t, "number", f.FD, i)
		equal(t, fmt.Sprintf("type of %d", i), f.Kind, want.kind)
		if !strings.HasPrefix(f.Target, want.target) {
			t.Errorf("target of %d: %q, want %q", i, f.Target, want.target)
		}
		if i >= 3 {
			// The child has the same open file as we have: the same inode.
			var st unix.Stat_t
			if err := unix.Fstat(int(files[i-3].Fd()), &st); err != nil {
				t.Fatal(err)
			}
			equal(t, fmt.Sprintf("dev of %d", i), f.Dev, uint64(st.Dev))
			equal(t, fmt.Sprintf("ino of %d", i), f.Ino, st.Ino)
		}
		equal(t, fmt.Sprintf("access of %d", i), f.access(), want.access)
		equal(t, fmt.Sprintf("readable %d", i), f.Readable(), want.access == "r" || want.access == "rw")
		equal(t, fmt.Sprintf("writable %d", i), f.Writable(), want.access == "w" || want.access == "rw")
		// What came through an exec cannot be close-on-exec.
		equal(t, fmt.Sprintf("cloexec of %d", i), f.CloseOnExec(), false)
	}

	// In this process the same files are close-on-exec.
	self := mustRead(t, os.Getpid())
	i := slices.IndexFunc(self.FDs, func(f FD) bool { return f.FD == int(files[0].Fd()) })
	if i < 0 || !self.FDs[i].CloseOnExec() {
		t.Errorf("descriptor %d is not close-on-exec", files[0].Fd())
	}
}

func TestReadUmaskAndSignals(t *testing.T) {
	// The shell sets what the test expects. A trap with an empty string
	// ignores a signal, and 37 is the third after glibc's first real-time one.
	cmd := exec.Command("sh", "-c", `umask 027; trap '' USR1 37; trap : USR2; read x; echo $x; read x`)
	p := mustRead(t, start(t, cmd).Process.Pid)

	equal(t, "umask", p.Umask, Mode(0o027))
	for _, name := range []string{"SIGUSR1", "SIGRTMIN+3"} {
		if !slices.Contains(p.Ignored, name) {
			t.Errorf("ignored: %v does not have %s", p.Ignored, name)
		}
	}
	if !slices.Contains(p.Caught, "SIGUSR2") || slices.Contains(p.Ignored, "SIGUSR2") {
		t.Errorf("caught: %v, ignored: %v, want SIGUSR2 in the first alone", p.Caught, p.Ignored)
	}
}

func TestReadThreadAttributes(t *testing.T) {
	before := mustRead(t, start(t, exec.Command("cat")).Process.Pid)
	if before.NoNewPrivs {
		t.Log("the test itself has no_new_privs: half of the check is void")
	}

	// A child has the signal mask and no_new_privs of the thread that forks.
	var c *child
	onThread(func() {
		var set unix.Sigset_t
		for _, n := range []unix.Signal{unix.SIGUSR1, unix.SIGTERM, 37} {
			bits := 8 * int(reflect.TypeOf(set.Val[0]).Size())
			set.Val[(int(n)-1)/bits] |= 1 << ((int(n) - 1) % bits)
		}
		if err := unix.PthreadSigmask(unix.SIG_SETMASK, &set, nil); err != nil {
			t.Errorf("pthread_sigmask: %v", err)
		}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Errorf("prctl: %v", err)
		}
		c = launch(t, exec.Command("cat"))
	})
	fmt.Fprintln(c.stdin, "ready")
	c.line(t)

	p := mustRead(t, c.Process.Pid)
	equal(t, "blocked", p.Blocked, []string{"SIGUSR1", "SIGTERM", "SIGRTMIN+3"})
	equal(t, "no_new_privs", p.NoNewPrivs, true)

	// A blocked signal waits. It is bit n-1 of the mask.
	if err := c.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	threads, err := Threads(c.Process.Pid)
	if err != nil || len(threads) != 1 {
		t.Fatalf("Threads: %v, %v, want one thread", threads, err)
	}
	equal(t, "tid", threads[0].TID, c.Process.Pid)
	equal(t, "pending mask", threads[0].Pending, uint64(1)<<14)
	equal(t, "blocked mask", threads[0].Blocked, uint64(1)<<9|1<<14|1<<36)
}

func TestReadStopped(t *testing.T) {
	c := start(t, exec.Command("cat"))
	before, err := Threads(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, c.Process.Pid, unix.WSTOPPED)
	equal(t, "state", mustRead(t, c.Process.Pid).State, "T")
	threads, err := Threads(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "state of the thread", threads[0].State, "T")

	// It left the processor to stop, and may have done so before to read.
	if threads[0].Switches <= before[0].Switches {
		t.Errorf("switches: %d after %d, want more", threads[0].Switches, before[0].Switches)
	}
	if err := c.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func TestReadZombie(t *testing.T) {
	c := start(t, exec.Command("cat"))
	alive := mustRead(t, c.Process.Pid)
	c.stdin.Close()
	waitFor(t, c.Process.Pid, unix.WEXITED)

	p := mustRead(t, c.Process.Pid)
	equal(t, "state", p.State, "Z")
	equal(t, "start time", p.Start, alive.Start)
	equal(t, "ppid", p.PPID, os.Getpid())
	equal(t, "uids", p.UIDs, alive.UIDs)
	equal(t, "cwd", p.Cwd, "")
	equal(t, "fds", p.FDs, []FD{})
	equal(t, "cmdline", p.Cmdline, []string{})

	// Who may not look at a zombie misses nothing.
	if _, err := readAsUser(t, c.Process.Pid); err != nil {
		t.Errorf("Read as an ordinary user: %v", err)
	}

	threads, err := Threads(c.Process.Pid)
	if err != nil || len(threads) != 1 || threads[0].State != "Z" {
		t.Errorf("Threads: %v, %v, want one thread in state Z", threads, err)
	}
	if pids, err := Children(os.Getpid()); !slices.Contains(pids, c.Process.Pid) {
		t.Errorf("Children: %v, %v, want the zombie %d among them", pids, err, c.Process.Pid)
	}
}

func TestReadGone(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid

	p, err := Read(pid)
	equal(t, "pid", p.PID, pid)
	_, statErr := ReadStat(pid)
	_, childrenErr := Children(pid)
	_, threadsErr := Threads(pid)
	for file, err := range map[string]error{"stat": err, "stat ": statErr, "task": childrenErr, "task ": threadsErr} {
		want := fmt.Sprintf("pid %d: process is gone: open /proc/%d/%s: no such file or directory",
			pid, pid, strings.TrimSpace(file))
		if !errors.Is(err, ErrGone) || err.Error() != want {
			t.Errorf("error %q, want %q", err, want)
		}
	}
}

// A file that was opened in time answers ESRCH and not ENOENT.
func TestGoneAfterOpen(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(pidPath(cmd.Process.Pid, "status"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(f)
	if !gone(err) || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read: %v, want ESRCH, and gone to say so", err)
	}
}

// A process that ends in the middle is either whole, or a zombie, or gone.
func TestReadWhileProcessesEnd(t *testing.T) {
	for range 20 {
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		waited := make(chan error)
		go func() { waited <- cmd.Wait() }()
		for {
			if _, err := Threads(cmd.Process.Pid); err != nil && !errors.Is(err, ErrGone) {
				t.Errorf("Threads: %v", err)
			}
			if _, err := Read(cmd.Process.Pid); errors.Is(err, ErrGone) {
				break
			} else if err != nil {
				t.Errorf("Read: %v", err)
			}
		}
		if err := <-waited; err != nil {
			t.Fatal(err)
		}
	}
}

// readAsUser is Read as an ordinary user, also when the tests run as root.
func readAsUser(t *testing.T, pid int) (p *Process, err error) {
	const nobody = 65534
	onThread(func() {
		if os.Getuid() == 0 {
			// The bare system call changes this thread alone. It loses its
			// capabilities with its user ID.
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); e != 0 {
				t.Errorf("setresuid: %v", e)
			}
		}
		p, err = Read(pid)
	})
	return p, err
}

func TestReadNotAllowed(t *testing.T) {
	p, err := readAsUser(t, 1)
	if err == nil {
		t.Skip("process 1 may be read here")
	}
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrGone) {
		t.Errorf("error %v, want a permission error", err)
	}
	equal(t, "message", strings.Split(err.Error(), "\n"), []string{
		"open /proc/1/environ: permission denied",
		"readlink /proc/1/exe: permission denied",
		"readlink /proc/1/cwd: permission denied",
		"readlink /proc/1/root: permission denied",
		"open /proc/1/fd: permission denied",
	})
	equal(t, "cwd", p.Cwd, "")
	equal(t, "fds", p.FDs, []FD{})
	// The rest is there. Process 1 has no parent in its own PID namespace.
	equal(t, "ppid", p.PPID, 0)
	if p.Comm == "" || p.State == "" {
		t.Errorf("name %q, state %q: want both", p.Comm, p.State)
	}
}

func TestReadKernelThread(t *testing.T) {
	s, err := ReadStat(2)
	if err != nil || s.Comm != "kthreadd" {
		t.Skip("no kernel thread in sight")
	}
	p, err := Read(2)
	if errors.Is(err, fs.ErrPermission) {
		t.Skipf("not root: %v", err)
	}
	equal(t, "error", err, nil)
	equal(t, "exe", p.Exe, "")
	equal(t, "cwd", p.Cwd, "/")
}

func TestChildren(t *testing.T) {
	a := start(t, exec.Command("cat"))
	b := start(t, exec.Command("cat"))
	// The shell has three children. None of them is ours.
	sh := launch(t, exec.Command("sh", "-c",
		`exec 3<&0; cat <&3 & echo $!; cat <&3 & echo $!; cat <&3 & echo $!; wait`))
	grandchildren := []int{}
	for range 3 {
		pid, err := strconv.Atoi(sh.line(t))
		if err != nil {
			t.Fatal(err)
		}
		grandchildren = append(grandchildren, pid)
	}
	slices.Sort(grandchildren)
	ours := []int{a.Process.Pid, b.Process.Pid, sh.Process.Pid}
	slices.Sort(ours)

	for _, list := range []func(int) ([]int, error){Children, childrenByScan} {
		for pid, want := range map[int][]int{
			sh.Process.Pid: grandchildren, os.Getpid(): ours, a.Process.Pid: {},
		} {
			got, err := list(pid)
			equal(t, "error", err, nil)
			equal(t, "children", got, want)
		}
	}
	equal(t, "children of Process", mustRead(t, sh.Process.Pid).Children, grandchildren)
}

// A child belongs to the thread that started it, and not to the main thread.
func TestChildrenOfAllThreads(t *testing.T) {
	tid := 0
	started, end := make(chan *child), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		tid = unix.Gettid()
		started <- launch(t, exec.Command("cat"))
		<-end // a thread that ended would hand its children on
	}()
	c := <-started
	defer close(end)

	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", tid))
	if err != nil {
		t.Skipf("kernel without CONFIG_PROC_CHILDREN: %v", err)
	}
	equal(t, "children of the thread", string(text), fmt.Sprintf("%d ", c.Process.Pid))
	got, err := Children(os.Getpid())
	equal(t, "error", err, nil)
	equal(t, "children", got, []int{c.Process.Pid})
}

// A thread that sleeps is not active, one that runs is, and one that has ended, too.
func TestActive(t *testing.T) {
	for script, want := range map[string]bool{"while :; do :; done": true, "kill -STOP $$": false, "read x": false} {
		cmd := exec.Command("/bin/sh", "-c", script)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := cmd.Process.Pid
		late := time.Now().Add(10 * time.Second)
		for Active(pid, 0) != want { // It begins its life by running.
			if time.Now().After(late) {
				t.Errorf("%s: active: %v", script, !want)
				break
			}
		}
		cmd.Process.Kill()
		in.Close()
		cmd.Wait()
		if !Active(pid, 0) {
			t.Errorf("%s: not active, and it has gone", script)
		}
	}
}

// Where the threads of TestActiveNap look: no stack, which can move.
var (
	halfHour = unix.NsecToTimespec(int64(30 * time.Minute))
	word     uint32
	event    unix.EpollEvent
)

// A thread that sleeps for half an hour is active to who thinks that an hour is a nap,
// by whichever system call it sleeps. One that waits for ever never is.
func TestActiveNap(t *testing.T) {
	at := uintptr(unsafe.Pointer(&halfHour))
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epoll)
	events := uintptr(unsafe.Pointer(&event))
	for name, c := range map[string]struct {
		number, a, b, c, d uintptr
		naps               bool
	}{
		"nanosleep":       {unix.SYS_NANOSLEEP, at, 0, 0, 0, true},
		"clock_nanosleep": {unix.SYS_CLOCK_NANOSLEEP, unix.CLOCK_MONOTONIC, 0, at, 0, true},
		"futex":           {unix.SYS_FUTEX, uintptr(unsafe.Pointer(&word)), 128, 0, at, true},
		"futex, for ever": {unix.SYS_FUTEX, uintptr(unsafe.Pointer(&word)), 128, 0, 0, false},
		"epoll":           {unix.SYS_EPOLL_PWAIT, uintptr(epoll), events, 1, uintptr((30 * time.Minute).Milliseconds()), true},
		"epoll, for ever": {unix.SYS_EPOLL_PWAIT, uintptr(epoll), events, 1, ^uintptr(0), false},
		"ppoll, for ever": {unix.SYS_PPOLL, 0, 0, 0, 0, false},
	} {
		tid := make(chan int)
		go func() { // It sleeps on when the test is over, and ends with the process.
			runtime.LockOSThread()
			tid <- unix.Gettid()
			unix.Syscall6(c.number, c.a, c.b, c.c, c.d, 0, 0)
		}()
		thread := <-tid
		late := time.Now().Add(10 * time.Second)
		for in := ""; !strings.HasPrefix(in, fmt.Sprintf("%d %#x ", c.number, c.a)); {
			text, _ := os.ReadFile(pidPath(thread, "syscall"))
			if in = string(text); time.Now().After(late) {
				t.Fatalf("%s: it is in system call %s", name, in)
			}
		}
		if Active(thread, 29*time.Minute) {
			t.Errorf("%s: half an hour is less than 29 minutes", name)
		}
		if got := Active(thread, time.Hour); got != c.naps {
			t.Errorf("%s: half an hour is a nap: %v", name, got)
		}
	}
}

func TestThreads(t *testing.T) {
	// The locked goroutine waits in read(2), so its thread sleeps there.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	tid, ended := make(chan int), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		tid <- unix.Gettid()
		unix.Read(int(r.Fd()), make([]byte, 1))
		r.Close()
	}()
	want := <-tid

	threads, err := Threads(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	tids := []int{}
	for _, th := range threads {
		tids = append(tids, th.TID)
	}
	if !slices.IsSorted(tids) || !slices.Contains(tids, want) || !slices.Contains(tids, os.Getpid()) {
		t.Errorf("threads %v, want them sorted, with %d and %d", tids, os.Getpid(), want)
	}
	w.Close()
	<-ended
}

func BenchmarkThreads(b *testing.B) {
	b.ReportAllocs()
	for range b.N {
		if _, err := Threads(os.Getpid()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSignalNames(t *testing.T) {
	// The numbers of signal(7) for x86 and ARM. Linux has 31 standard ones.
	for n, want := range map[int]string{
		1: "SIGHUP", 6: "SIGABRT", 9: "SIGKILL", 15: "SIGTERM", 17: "SIGCHLD", 29: "SIGIO", 31: "SIGSYS",
		32: "SIG32", 33: "SIG33", 34: "SIGRTMIN", 35: "SIGRTMIN+1", 64: "SIGRTMIN+30",
		0: "SIG0", 65: "SIG65", -1: "SIG-1",
	} {
		equal(t, fmt.Sprintf("signal %d", n), SignalName(n), want)
	}
	equal(t, "no signal", SignalNames(0), []string{})
	equal(t, "first and last", SignalNames(1<<63|1), []string{"SIGHUP", "SIGRTMIN+30"})
	equal(t, "all", len(SignalNames(^uint64(0))), 64)
}

func TestJSON(t *testing.T) {
	p := Process{
		Stat:  Stat{PID: 7, PPID: 1, PGID: 7, SID: 7, TTY: "pts/3", TTYNr: 34819, Comm: "cat", State: "S", Start: 99, Flags: 4},
		Umask: 0o022,
		UIDs:  IDs{1, 2, 3, 4},
		FDs: []FD{
			{0, "/dev/null", "char", 5, 6, unix.O_RDONLY, 0},
			{1, "/x", "file", 5, 7, unix.O_WRONLY | unix.O_CLOEXEC, 0},
			{2, "/y", "file", 5, 8, unix.O_RDWR, 1 << 14},
			{3, "/", "dir", 5, 9, unix.O_PATH | unix.O_CLOEXEC, 0},
		},
		Caps:    Caps{1, 2, 4, 1<<41 - 1, 16},
		Cmdline: []string{"cat"}, Environ: []string{"TZ"}, Groups: []int{}, Uneven: []string{"Uid"}, Blocked: []string{}, Ignored: []string{}, Caught: []string{}, Children: []int{},
	}
	const want = `{"pid":7,"ppid":1,"pgid":7,"sid":7,"tty":"pts/3","tty_nr":34819,"comm":"cat","state":"S","start_time":99,` +
		`"cmdline":["cat"],"exe":"","cwd":"","root":"","umask":"0022","fds":[` +
		`{"fd":0,"target":"/dev/null","type":"char","access":"r","cloexec":false,"dev":5,"ino":6},` +
		`{"fd":1,"target":"/x","type":"file","access":"w","cloexec":true,"dev":5,"ino":7},` +
		`{"fd":2,"target":"/y","type":"file","access":"rw","cloexec":false,"dev":5,"ino":8,"signals":16384},` +
		`{"fd":3,"target":"/","type":"dir","access":"path","cloexec":true,"dev":5,"ino":9}],` +
		`"uids":{"real":1,"effective":2,"saved":3,"fs":4},"gids":{"real":0,"effective":0,"saved":0,"fs":0},"groups":[],` +
		`"caps":{"inheritable":1,"permitted":2,"effective":4,"bounding":2199023255551,"ambient":16},"environ":["TZ"],"environ_over":false,` +
		`"no_new_privs":false,"uneven":["Uid"],"blocked":[],"ignored":[],"caught":[],"children":[]}`
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "JSON", string(text), want)

	var back Process
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	p.Flags = 0 // not written
	equal(t, "read back", back, p)

	for _, wrong := range []string{`{"umask":"8"}`, `{"fds":[{"access":"x"}]}`, `{"fds":[{"fd":"0"}]}`} {
		if err := json.Unmarshal([]byte(wrong), &back); err == nil {
			t.Errorf("%s: no error", wrong)
		}
	}

	// Also of a process that is gone: no list is null.
	none, _ := Read(-1)
	text, err = json.Marshal(none)
	if err != nil || strings.Contains(string(text), "null") {
		t.Errorf("%s, %v: want no null", text, err)
	}
}
