//go:build linux

// Command bench measures what a start of a daemon costs, and what the daemon does when
// there is nothing to do. make bench runs it, in the root of the repository.
//
// A start is the time from before the command is started until it has been waited for:
// what a shell's user waits for the prompt. It includes vfork(2) and execve(2), all that
// the launcher does, and for a step that waits for it all that the daemon does until it
// is ready. It includes neither a shell nor the daemon's end. All kinds of commands take
// turns, so that a busy moment meets each, and each round begins with another one.
//
// The cost is told as a ratio to that of an empty Go program: how many starts of a Go
// program it is worth. Two ratios have a target. A missed one is status 1.
//
// All is done as an ordinary user. Root becomes user 65534 for it.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// nobody is who root becomes.
const nobody = 65534

// warmUps are rounds that do not count: the programs come from the disk in them.
const warmUps = 2

// empty is what all is compared with.
const empty = "func main() {}"

// measured are the steps that are measured, with the highest ratio that is all right.
var measured = []struct {
	step   string
	target float64
}{{"05-signals", 1.9}, {"11-privileges", 4.5}}

func main() {
	starts := flag.Int("starts", 200, "how often each `command` is started")
	idle := flag.Duration("idle", 10*time.Second, "how long the idle daemons are watched")
	flag.Parse()
	if flag.NArg() > 0 || *starts < 1 || *idle <= 0 {
		fmt.Fprintln(os.Stderr, "bench: only -starts and -idle, above 0, can be given (bench -h explains)")
		os.Exit(2)
	}
	if err := bench(os.Stdout, *starts, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", strings.ReplaceAll(err.Error(), "\n", "\nbench: "))
		os.Exit(1)
	}
}

// A command is one that is measured.
type command struct {
	name   string
	args   []string
	target float64 // 0 for none
	times  []time.Duration
}

func bench(out io.Writer, starts int, idle time.Duration) (err error) {
	// SIGPIPE comes when nobody reads on, as in bench | head -1.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	// What loses its parent becomes our child: we can end it, and wait for it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become a child subreaper: %w", err)
	}
	parent := os.TempDir()
	if os.Geteuid() == 0 {
		parent = "/tmp" // Root's own may be closed to others.
	}
	dir, err := os.MkdirTemp(parent, "daemonsteps-bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { err = errors.Join(err, endAll(), os.RemoveAll(dir)) }()
	b := &runner{dir: dir, tmp: filepath.Join(dir, "tmp")}
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(b.tmp, 0o700)); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	commands, skipped, err := b.build(ctx)
	if err != nil {
		return err
	}
	if err := b.becomeOrdinary(); err != nil {
		return err
	}
	if b.null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
		return err
	}
	fmt.Fprintln(out, system())

	debug.SetGCPercent(-1) // We start processes, and collect nothing.
	for round := range warmUps + starts {
		for i := range commands {
			c := &commands[(i+round)%len(commands)]
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			took, err := b.start(c.args)
			if err == nil {
				err = b.clear()
			}
			if err != nil {
				return fmt.Errorf("start %s: %w", c.name, err)
			}
			if round >= warmUps {
				c.times = append(c.times, took)
			}
		}
	}
	missed := table(out, commands, skipped, starts)
	return errors.Join(b.idle(ctx, out, idle), missed)
}

// system says on what all is measured.
func system() string {
	var name unix.Utsname
	unix.Uname(&name)
	load, _ := os.ReadFile("/proc/loadavg")
	busy, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%s, Linux %s, %d CPUs, load %s, user %d",
		runtime.Version(), unix.ByteSliceToString(name.Release[:]), runtime.NumCPU(), busy, os.Getuid())
}

// A runner starts commands.
type runner struct {
	dir  string   // what we have made
	tmp  string   // the TMPDIR of what is started
	null *os.File // its standard files
}

// build builds the programs, and returns all commands that there are, and why some are
// not.
func (b *runner) build(ctx context.Context) (commands []command, skipped []string, err error) {
	in := func(name string) string { return filepath.Join(b.dir, name) }
	run := func(name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, text)
		}
		return nil
	}
	goBuild := func(to, what string) error { return run("go", "build", "-buildvcs=false", "-o", in(to), what) }

	err = os.WriteFile(in("empty.go"), []byte("package main\n\n"+empty+"\n"), 0o644)
	if err == nil {
		err = goBuild("empty", in("empty.go"))
	}
	commands = append(commands, command{name: empty, args: []string{in("empty")}})
	for _, m := range measured {
		if err == nil {
			err = goBuild(m.step, "./steps/"+m.step)
		}
		commands = append(commands, command{name: m.step, args: []string{in(m.step), "-every", "1h"}, target: m.target})
	}
	if err != nil {
		return nil, nil, err
	}

	skip := func(name, program string) { skipped = append(skipped, fmt.Sprintf("%s: no %s here", name, program)) }
	const inC, setsid, ssd = "C, daemon(3)", "setsid -f sleep", "start-stop-daemon --background"
	if cc, err := exec.LookPath("cc"); err != nil {
		skip(inC, "cc")
	} else {
		const source = "#include <unistd.h>\nint main(void) { if (daemon(0, 0) != 0) return 1; for (;;) pause(); }\n"
		if err := os.WriteFile(in("daemon.c"), []byte(source), 0o644); err != nil {
			return nil, nil, err
		}
		if err := run(cc, "-D_DEFAULT_SOURCE", "-O2", "-o", in("daemon"), in("daemon.c")); err != nil {
			return nil, nil, err
		}
		commands = append(commands, command{name: inC, args: []string{in("daemon")}})
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		return nil, nil, err
	}
	if program, err := exec.LookPath("setsid"); err != nil {
		skip(setsid, "setsid")
	} else {
		commands = append(commands, command{name: setsid, args: []string{program, "-f", sleep, "1h"}})
	}
	if program, err := exec.LookPath("start-stop-daemon"); err != nil {
		skip(ssd, "start-stop-daemon")
	} else {
		// It has to be told how to find one that runs already. There is no such file.
		commands = append(commands, command{name: ssd, args: []string{program, "--start", "--background",
			"--pidfile", in("no.pid"), "--startas", sleep, "--", "1h"}})
	}
	return commands, skipped, nil
}

// becomeOrdinary makes root an ordinary user, who has what we have made.
func (b *runner) becomeOrdinary() error {
	if os.Geteuid() != 0 {
		return nil
	}
	err := errors.Join(os.Chown(b.tmp, nobody, nobody), os.Chown(b.dir, nobody, nobody))
	if err == nil { // In this order: a user may not change its groups.
		err = errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody))
	}
	if err != nil {
		return fmt.Errorf("become user %d: %w", nobody, err)
	}
	return nil
}

// start starts a command, waits until it has ended, and returns how long that took.
func (b *runner) start(args []string) (time.Duration, error) {
	attr := &os.ProcAttr{
		Dir:   b.tmp,
		Env:   []string{"PATH=/usr/bin:/bin", "TMPDIR=" + b.tmp},
		Files: []*os.File{b.null, b.null, b.null},
	}
	began := time.Now()
	p, err := os.StartProcess(args[0], args, attr)
	if err != nil {
		return 0, err
	}
	state, err := p.Wait()
	took := time.Since(began)
	if err == nil && !state.Success() {
		err = errors.New(state.String())
	}
	return took, err
}

// clear ends what a start has left, and removes its files.
func (b *runner) clear() error {
	err := endAll()
	left, err2 := filepath.Glob(filepath.Join(b.tmp, "*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return errors.Join(err, err2)
}

// endAll ends each child that we have, by a pidfd, and waits for it. It comes back when
// the kernel says that there is none.
func endAll() error {
	for {
		children, err := proc.Children(os.Getpid())
		if err != nil {
			return err
		}
		for _, pid := range children {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				return fmt.Errorf("open process %d: %w", pid, err)
			}
			err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			unix.Close(fd)
			if err != nil {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
			for {
				if _, err = unix.Wait4(pid, nil, unix.WALL, nil); !errors.Is(err, unix.EINTR) {
					break
				}
			}
			if err != nil {
				return fmt.Errorf("wait for process %d: %w", pid, err)
			}
		}
		if len(children) == 0 {
			var info unix.Siginfo
			if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); errors.Is(err, unix.ECHILD) {
				return nil
			}
		}
	}
}

// table prints what the starts took. The error says which targets were missed.
func table(out io.Writer, commands []command, skipped []string, starts int) (missed error) {
	quarter := func(times []time.Duration, n int) time.Duration {
		return times[min(len(times)*n/4, len(times)-1)]
	}
	fmt.Fprintf(out, "\n%-30s %7s  %-17s %6s\n", fmt.Sprintf("%d starts, in ms", starts), "median", "   middle half", "ratio")
	for i := range commands {
		slices.Sort(commands[i].times)
	}
	one := quarter(commands[0].times, 2)
	for _, c := range commands {
		ratio := float64(quarter(c.times, 2)) / float64(one)
		fmt.Fprintf(out, "%-30s %7.2f  %7.2f – %-7.2f %6.2f", c.name,
			ms(quarter(c.times, 2)), ms(quarter(c.times, 1)), ms(quarter(c.times, 3)), ratio)
		if c.target > 0 {
			fmt.Fprintf(out, "  at most %.1f", c.target)
			if ratio > c.target {
				missed = errors.Join(missed, fmt.Errorf("a start of %s is worth %.2f empty programs, and %.1f is the target", c.name, ratio, c.target))
			}
		}
		fmt.Fprintln(out)
	}
	for _, why := range skipped {
		fmt.Fprintln(out, "–", why)
	}
	return missed
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// idle watches a daemon of each step that has nothing to do.
func (b *runner) idle(ctx context.Context, out io.Writer, d time.Duration) error {
	type daemon struct {
		step   string
		pid    int
		before int
	}
	var daemons []daemon
	known := map[int]bool{}
	for _, m := range measured {
		if _, err := b.start([]string{filepath.Join(b.dir, m.step), "-every", "1h"}); err != nil {
			return fmt.Errorf("start %s: %w", m.step, err)
		}
		children, err := proc.Children(os.Getpid())
		if err != nil {
			return err
		}
		for _, pid := range children {
			if !known[pid] {
				known[pid] = true
				daemons = append(daemons, daemon{step: m.step, pid: pid})
			}
		}
	}
	if len(daemons) != len(measured) {
		return fmt.Errorf("%d steps have left %d processes", len(measured), len(daemons))
	}
	wait := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return errors.New("interrupted")
		}
	}
	// What a Go program does at its start is done by then.
	if err := wait(min(d, 2*time.Second)); err != nil {
		return err
	}
	var err error
	for i := range daemons {
		if daemons[i].before, err = switches(daemons[i].pid); err != nil {
			return err
		}
	}
	if err := wait(d); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nan idle daemon, watched for %v\n\n", d)
	for _, one := range daemons {
		after, err := switches(one.pid)
		if err != nil {
			return err
		}
		rss, pss, err := memory(one.pid)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-15s RSS %5d kB  PSS %5d kB  %d wake-ups, %.1f per second\n", one.step, rss, pss,
			after-one.before, float64(after-one.before)/d.Seconds())
	}
	return nil
}

// switches returns how often the threads of a process have gone to sleep so far: as
// often as they were woken (proc_pid_status(5), voluntary_ctxt_switches).
func switches(pid int) (sum int, err error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if len(tasks) == 0 {
		err = cmp.Or(err, fmt.Errorf("process %d has ended", pid))
	}
	for _, path := range tasks {
		n, err := number(path, "voluntary_ctxt_switches:")
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, err
}

// memory returns what a process has in memory, in kB: all of it, and with what it
// shares with others counted in part (proc_pid_smaps(5)).
func memory(pid int) (rss, pss int, err error) {
	path := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	rss, err = number(path, "Rss:")
	if err == nil {
		pss, err = number(path, "Pss:")
	}
	return rss, pss, err
}

// number returns the number that stands behind a label in a file of /proc.
func number(path, label string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == label {
			return strconv.Atoi(f[1])
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, label)
}
