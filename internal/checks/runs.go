//go:build linux

package checks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"daemonsteps/internal/lab"
	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// need names the runs that a check reads.
type need int

const (
	needJob      need = 1 << iota // as a shell's job; of the new style: as a service
	needHangup                    // then the terminal is closed
	needReload                    // then SIGHUP
	needEnd                       // then SIGTERM
	needPipe                      // from a script, its output a pipe; ^C is typed; then SIGINT
	needSignals                   // with signals blocked and ignored
	needDirect                    // directly on the terminal, many times
	needFaults                    // with arguments that the command has to refuse
	needTold                      // with arguments with which the daemon cannot start
	needSingle                    // twice at a time
	needReady                     // and a client at once, many times
	needActivate                  // as a service that is passed a socket
)

// The surroundings that show what a daemon takes over from its caller. They are
// unusual, so that whatever shows up in the daemon came from there.
const (
	jobUmask  = 0o027
	pipeUmask = 0o003
)

// stray is a variable of the caller's.
const stray = "LAB_STRAY"

var (
	heldFDs        = []int{9, 77}
	plantedSignals = []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2}
	ignored        = plantedSignals[:4]
	blocked        = plantedSignals[1:]
)

// restTime is how long processes may take to come to rest. A daemon that is busy
// all the time is then judged as it is.
func (b *bench) restTime() time.Duration { return min(b.Timeout, 2*time.Second) }

// facts is what was seen of a program. A run that was not needed is empty.
type facts struct {
	options Options
	job     struct {
		launch
		held                    string // path of the file open as heldFDs
		hangup                  outcome
		reload                  outcome // by SIGHUP
		log                     rotated
		lost                    need // what another start that failed was for
		filesBefore, filesAfter []string
		liveBefore, liveAfter   int
		term                    end
	}
	pipe struct {
		launch
		ended     bool // the pipes came to their end
		interrupt outcome
		int       end
	}
	signalsTerm, signalsInt struct {
		launch
		end end
	}
	direct struct {
		starts, survived int
		ends             []string // how the others ended, each way once
	}
	service struct { // of the new style; the rest stands in job
		detached        *proc.Process // what lives on, when the command itself has ended
		strays          []int         // other processes that it left to whoever started it
		said, reloading []lab.Notice  // at $NOTIFY_SOCKET: from the start, and after SIGHUP
		reloaded        proc.Stat     // as it is after SIGHUP
		before, after   client        // of the passed socket: who connected before the start, and after it
		stdout, stderr  string        // all that came out
	}
	faults, told refusal
	single       struct {
		refusal
		first, second int    // pids; second is 0 if nothing more than the first lives
		died          bool   // the first has ended
		names, after  string // whom the PID file names, before and after the second start
		again         error  // why it did not start when the first was killed
	}
	ready struct {
		starts, connected int
		why               string // of the last that was not
		stranger          bool   // a client could connect with no daemon there
	}
}

// rotated is what came of the renaming of a log, and SIGHUP.
type rotated struct {
	path             string
	err              error  // why it could not be renamed
	oldFile, newFile string // as the kernel shows them
	old              bool   // the daemon still has the renamed file open
	fresh            bool   // there is a new one, and the daemon has it open
	blind            error  // why we could not wait for that
}

// refusal is how a command ended that was to fail.
type refusal struct {
	exit  lab.Exit
	never bool   // it did not end
	said  string // what it printed, in one line
	live  []int
	files []string // in its TMPDIR
}

// launch is what came of one start.
type launch struct {
	guardian int
	info     lab.SessionInfo
	exit     lab.Exit // the launcher's
	never    bool     // the launcher did not end
	restless int      // processes that came and went, when none stays
	restTime time.Duration
	live     []int // what lives on; the daemon first
	daemon   *proc.Process
}

// outcome says whether an event ended the daemon.
type outcome struct {
	died bool
	exit lab.Exit
}

// end is how a signal ended the daemon.
type end struct {
	ignored string // "ignores" or "blocks": it was not sent
	err     error  // it did not end in time
	exit    lab.Exit
}

// ErrNoDaemon says that the command left no process behind.
var ErrNoDaemon = errors.New("no daemon left behind")

// errUnsteady says that a program that left a daemon once did not do so again.
var errUnsteady = errors.New("in another start")

// A bench starts one program again and again.
type bench struct {
	ctx  context.Context
	args []string
	Options
	needs       need
	logWasThere bool
}

// with runs f with a lab of its own, which is closed when f returns or the context
// ends, whichever comes first.
func (b *bench) with(f func(l *lab.Lab) error) (err error) {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	l, err := lab.New(lab.Options{})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(b.ctx, func() { l.Close() })
	defer func() {
		stop()
		closed := l.Close()
		if err = cmp.Or(b.ctx.Err(), err); err == nil { // The calls fail when the context ends.
			err = closed
		}
	}()
	return f(l)
}

// start starts the program and waits for what is left of it. The error is
// ErrNoDaemon, with what the command said, if that is nothing.
func (b *bench) start(l *lab.Lab, c lab.Command) (*lab.Session, launch, error) {
	c.Args = b.args
	c.Env = map[string]string{stray: "a variable of the caller's"}
	ln := launch{guardian: l.Guardian(), restTime: b.restTime()}
	s, err := l.Start(c)
	if err != nil {
		return nil, ln, err
	}
	ln.info = s.Info
	ln.exit, err = s.Wait(b.Timeout)
	if errors.Is(err, lab.ErrTimeout) {
		ln.never = true
		return s, ln, nil
	}
	if err != nil {
		return s, ln, err
	}
	if ln.live, ln.restless, err = b.rest(l); err != nil || ln.restless > 0 {
		return s, ln, err
	}
	if len(ln.live) == 0 {
		out, stderr, _ := s.Output()
		return s, ln, fmt.Errorf("%w: the command ended with %v%s", ErrNoDaemon, ln.exit, words(out+stderr))
	}
	ln.daemon, err = l.State(ln.live[0])
	if errors.Is(err, proc.ErrGone) {
		return s, ln, fmt.Errorf("%w: process %d has ended by itself", ErrNoDaemon, ln.live[0])
	}
	if err != nil {
		return s, ln, fmt.Errorf("read the daemon's state: %w", err)
	}
	return s, ln, nil
}

// rest waits until all is at rest, and returns what lives. A process that is
// never at rest, but stays, is a busy daemon. If nothing stays and there is
// always something new, it returns how many have ended so far.
func (b *bench) rest(l *lab.Lab) (live []int, restless int, err error) {
	before, err := l.Live()
	if err != nil {
		return nil, 0, err
	}
	live, err = l.Rest(b.restTime())
	if !errors.Is(err, lab.ErrTimeout) {
		return live, 0, err
	}
	if live, err = l.Live(); err != nil {
		return nil, 0, err
	}
	if slices.ContainsFunc(live, func(pid int) bool { return slices.Contains(before, pid) }) {
		return live, 0, nil
	}
	dead, err := l.Ended()
	return nil, max(1, len(dead)), err
}

// after says what became of the daemon after an event that has been sent.
func (b *bench) after(l *lab.Lab, pid int) (outcome, error) {
	live, _, err := b.rest(l)
	if err != nil || slices.Contains(live, pid) {
		return outcome{}, err
	}
	e, err := l.WaitExit(pid, b.Timeout)
	return outcome{died: true, exit: e}, err
}

// endBy sends a signal to the daemon and waits for its end.
func (b *bench) endBy(l *lab.Lab, d *proc.Process, sig syscall.Signal) (end, error) {
	// A signal that is ignored or blocked ends nobody. That is known at once.
	name := proc.SignalName(int(sig))
	if slices.Contains(d.Ignored, name) {
		return end{ignored: "ignores"}, nil
	}
	if blocks(d, name) {
		return end{ignored: "blocks"}, nil
	}
	if err := l.Signal(d.PID, sig); err != nil {
		return end{}, err
	}
	e, err := l.WaitExit(d.PID, b.Timeout)
	if errors.Is(err, lab.ErrTimeout) {
		return end{err: fmt.Errorf("it has not ended %v after %s", b.Timeout, name)}, nil
	}
	return end{exit: e}, err
}

// blocks says whether a process blocks a signal. A thread that waits for one by
// sigwaitinfo(2) does not; and one that is blocked may be read from a descriptor.
func blocks(d *proc.Process, signal string) bool {
	return slices.Contains(d.Blocked, signal) && !slices.ContainsFunc(d.FDs, func(fd proc.FD) bool {
		return slices.Contains(proc.SignalNames(fd.Signals), signal)
	})
}

// runJob starts the program as a shell's job, closes the terminal, and ends the
// daemon with SIGTERM.
func (b *bench) runJob(l *lab.Lab, f *facts) error {
	r := &f.job
	r.held = filepath.Join(l.Place(), "held-open-by-the-caller")
	if err := os.WriteFile(r.held, nil, 0o600); err != nil {
		return err
	}
	c := lab.Command{Way: lab.Job, Umask: jobUmask, Hold: map[int]string{}}
	for _, fd := range heldFDs {
		c.Hold[fd] = r.held
	}
	s, ln, err := b.start(l, c)
	r.launch = ln
	if err != nil || ln.daemon == nil {
		return err
	}
	// For the next event a daemon has to be there: another one, if the last has died.
	alive := func(died bool, lost need) error {
		if !died {
			return nil
		}
		r.lost = lost
		_, ln, err = b.again(l, c)
		return err
	}
	if b.needs&needHangup != 0 {
		if err := s.Hangup(); err != nil {
			return err
		}
		if r.hangup, err = b.after(l, ln.daemon.PID); err != nil {
			return err
		}
	}
	if b.needs&needReload != 0 {
		if err := alive(r.hangup.died, needReload|needEnd); err != nil {
			return err
		}
		if err := b.reload(l, ln, f); err != nil {
			return err
		}
	}
	if b.needs&needEnd == 0 {
		return nil
	}
	if err := alive(r.hangup.died && b.needs&needReload == 0 || r.reload.died, needEnd); err != nil {
		return err
	}
	r.filesBefore, r.liveBefore = files(ln.info.TmpDir), len(ln.live)
	r.term, err = b.endBy(l, ln.daemon, syscall.SIGTERM)
	if err != nil || r.term.ignored != "" || r.term.err != nil {
		return err
	}
	live, _, err := b.rest(l)
	r.filesAfter, r.liveAfter = files(ln.info.TmpDir), len(live)
	return err
}

// reload sends SIGHUP to the daemon; its log has another name then.
func (b *bench) reload(l *lab.Lab, ln launch, f *facts) (err error) {
	r := &f.job
	r.log.err = os.ErrNotExist
	var events *os.File
	if b.Log != "" {
		r.log.path = b.path(ln.info, b.Log)
		if events, r.log.blind = watch(filepath.Dir(r.log.path)); events != nil {
			defer events.Close()
		}
		r.log.rename()
		defer b.restoreLog(r.log)
	}
	if err := l.Signal(ln.daemon.PID, syscall.SIGHUP); err != nil {
		return err
	}
	if r.reload, err = b.after(l, ln.daemon.PID); err != nil || r.reload.died || r.log.err != nil {
		return err
	}
	if err := r.log.look(l, ln.daemon.PID, events, b.restTime()); err != nil {
		return err
	}
	r.reload, err = b.after(l, ln.daemon.PID) // It may have ended while we waited.
	return err
}

// rename gives the log another name. What a daemon has open the kernel shows by the name
// to which symbolic links lead.
func (r *rotated) rename() {
	opened, err := filepath.EvalSymlinks(r.path)
	dir, err2 := filepath.EvalSymlinks(filepath.Dir(r.path))
	if r.err = cmp.Or(err, err2); r.err != nil {
		return
	}
	r.newFile = filepath.Join(dir, filepath.Base(r.path))
	if r.oldFile = opened; opened == r.newFile { // The log is no link itself.
		r.oldFile += rotatedName
	}
	r.err = os.Rename(r.path, r.path+rotatedName)
}

// watch returns what can be read whenever a file comes into a directory, or is closed
// there that could be written.
func watch(dir string) (*os.File, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_CLOSE_WRITE); err != nil {
		events.Close()
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	return events, nil
}

// rotatedName is put behind the name of a log that is rotated.
const rotatedName = ".isdaemon"

// path returns what a path of Options stands for: a pattern that counts from the
// TMPDIR of a start, if it is relative. Of many matches the first is taken.
func (b *bench) path(info lab.SessionInfo, pattern string) string {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(info.TmpDir, pattern)
	}
	if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
		return found[0]
	}
	return pattern
}

// look says which file the daemon has open. One that opens its log when it next has
// something to write may take some time to let go of the old one.
func (r *rotated) look(l *lab.Lab, pid int, events *os.File, patience time.Duration) error {
	over := r.blind != nil
	if !over {
		if err := events.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
	}
	for {
		p, err := l.State(pid)
		if errors.Is(err, proc.ErrGone) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the daemon's state: %w", err)
		}
		has := func(path string) bool {
			return slices.ContainsFunc(p.FDs, func(fd proc.FD) bool { return fd.Target == path })
		}
		if r.old, r.fresh = has(r.oldFile), has(r.newFile); r.fresh && !r.old || over {
			return nil
		}
		_, err = events.Read(make([]byte, 4096))
		if over = errors.Is(err, os.ErrDeadlineExceeded); err != nil && !over {
			return fmt.Errorf("wait for a new %s: %w", r.path, err)
		}
	}
}

// restoreLog takes the renamed log away, unless it was there before we came. If there
// is no new one, it gets its name back.
func (b *bench) restoreLog(r rotated) {
	_, err := os.Lstat(r.path)
	switch {
	case r.err != nil: // It was not renamed.
	case err != nil:
		os.Rename(r.path+rotatedName, r.path)
	case !b.logWasThere:
		os.Remove(r.path + rotatedName)
	}
}

// runRefused starts the program with arguments with which it has to fail.
func (b *bench) runRefused(l *lab.Lab, args []string, r *refusal) error {
	if err := l.Clear(); err != nil {
		return err
	}
	return b.refused(l, lab.Command{Args: slices.Concat(b.args, args), Way: b.Style.way}, r)
}

// refused starts a command that has to fail.
func (b *bench) refused(l *lab.Lab, c lab.Command, r *refusal) error {
	s, err := l.Start(c)
	if err != nil {
		return err
	}
	r.exit, err = s.Wait(b.Timeout)
	if r.never = errors.Is(err, lab.ErrTimeout); r.never {
		return nil
	}
	if err != nil {
		return err
	}
	if r.live, _, err = b.rest(l); err != nil {
		return err
	}
	r.files = files(s.Info.TmpDir)
	out, stderr, err := s.Output()
	r.said = oneLine(out + stderr)
	return err
}

func (b *bench) runFaults(l *lab.Lab, f *facts) error { return b.runRefused(l, b.BadArgs, &f.faults) }

func (b *bench) runTold(l *lab.Lab, f *facts) error { return b.runRefused(l, b.BadStart, &f.told) }

// runSingle starts the program a second time while it runs, then ends the first by
// SIGKILL, and starts it once more.
func (b *bench) runSingle(l *lab.Lab, f *facts) error {
	r := &f.single
	_, ln, err := b.again(l, lab.Command{})
	if errors.Is(err, errUnsteady) {
		r.again = err // The last one was ended by SIGKILL, too.
		return nil
	}
	if err != nil {
		return err
	}
	r.first = ln.daemon.PID
	// There may be more lines in it, which are for others.
	named := func() string {
		text, _ := os.ReadFile(b.path(ln.info, b.PIDFile))
		line, _, _ := strings.Cut(string(text), "\n")
		return strings.TrimSpace(line)
	}
	r.names = named()
	if err := b.refused(l, lab.Command{Args: b.args}, &r.refusal); err != nil {
		return err
	}
	r.after = named()
	live := r.live
	if r.never { // So nothing is at rest.
		if live, err = l.Live(); err != nil {
			return err
		}
	}
	r.died = !slices.Contains(live, r.first)
	for _, pid := range r.live {
		if !slices.Contains(ln.live, pid) {
			r.second = pid
		}
	}
	_, _, err = b.again(l, lab.Command{}) // It clears the lab first.
	if errors.Is(err, errUnsteady) {
		r.again, err = err, nil
	}
	return err
}

// runReady starts the program, again and again, and connects when it has returned.
func (b *bench) runReady(l *lab.Lab, f *facts) error {
	dial := func(info lab.SessionInfo) error {
		network, address := "unix", b.path(info, b.Socket)
		if _, _, err := net.SplitHostPort(b.Socket); err == nil && !strings.Contains(b.Socket, "/") {
			network, address = "tcp", b.Socket
		}
		client, err := net.DialTimeout(network, address, b.Timeout)
		for _, other := range []string{"unixpacket", "unixgram"} { // It may be of another type.
			if errors.Is(err, syscall.EPROTOTYPE) {
				client, err = net.DialTimeout(other, address, b.Timeout)
			}
		}
		if err == nil {
			client.Close()
		}
		return err
	}
	for range b.Starts {
		if err := l.Clear(); err != nil {
			return err
		}
		if f.ready.starts == 0 && dial(lab.SessionInfo{TmpDir: l.Place()}) == nil {
			f.ready.stranger = true // There is no daemon of ours yet.
			return nil
		}
		s, err := l.Start(lab.Command{Args: b.args})
		if err != nil {
			return err
		}
		f.ready.starts++
		_, err = s.Wait(b.Timeout)
		if err == nil {
			err = dial(s.Info)
		}
		if err == nil {
			f.ready.connected++
		} else {
			f.ready.why = err.Error()
		}
	}
	return nil
}

// runPipe starts the program from a script, with pipes as its output, types ^C, and
// ends the daemon with SIGINT.
func (b *bench) runPipe(l *lab.Lab, f *facts) error {
	r := &f.pipe
	c := lab.Command{Way: lab.Script, Pipe: true, Umask: pipeUmask}
	s, ln, err := b.again(l, c)
	r.launch = ln
	if err != nil {
		return err
	}
	if r.ended, err = s.PipesEnded(); err != nil {
		return err
	}
	if err := s.Type("\x03"); err != nil {
		return err
	}
	if r.interrupt, err = b.after(l, ln.daemon.PID); err != nil {
		return err
	}
	if r.interrupt.died {
		if _, ln, err = b.again(l, c); err != nil {
			return err
		}
	}
	r.int, err = b.endBy(l, ln.daemon, syscall.SIGINT)
	return err
}

// runSignals starts the program with signals blocked and ignored, and ends it; once
// by each signal.
func (b *bench) runSignals(l *lab.Lab, f *facts) (err error) {
	c := lab.Command{Ignore: ignored, Block: blocked}
	if _, f.signalsTerm.launch, err = b.again(l, c); err != nil {
		return err
	}
	if f.signalsTerm.end, err = b.endBy(l, f.signalsTerm.daemon, syscall.SIGTERM); err != nil {
		return err
	}
	if _, f.signalsInt.launch, err = b.again(l, c); err != nil {
		return err
	}
	f.signalsInt.end, err = b.endBy(l, f.signalsInt.daemon, syscall.SIGINT)
	return err
}

// runDirect starts the program directly on a terminal, again and again. The
// terminal hangs up when the command, which leads its session, ends.
func (b *bench) runDirect(l *lab.Lab, f *facts) error {
	for range b.Starts {
		if err := l.Clear(); err != nil {
			return err
		}
		end, err := b.direct(l)
		if err != nil {
			return err
		}
		f.direct.starts++
		if end == "" {
			f.direct.survived++
		} else if !slices.Contains(f.direct.ends, end) {
			f.direct.ends = append(f.direct.ends, end)
		}
	}
	return nil
}

// direct starts the program once, and returns how it ended, or "" if it survives.
func (b *bench) direct(l *lab.Lab) (ended string, err error) {
	s, err := l.Start(lab.Command{Args: b.args, Way: lab.Direct})
	if err != nil {
		return "", err
	}
	exit, err := s.Wait(b.Timeout)
	if errors.Is(err, lab.ErrTimeout) {
		return "the command did not end", nil
	}
	if err != nil {
		return "", err
	}
	adopted, err := l.Adopted()
	if err != nil {
		return "", err
	}
	for _, pid := range adopted {
		// The hang-up was for the session that the command led. One that leads
		// or has joined another has got away.
		if st, err := l.Stat(pid); err == nil && st.SID != s.Info.Launcher {
			return "", nil
		}
	}
	live, _, err := b.rest(l)
	if err != nil || len(live) > 0 {
		return "", err
	}
	dead, err := l.Ended()
	if err != nil {
		return "", err
	}
	if len(dead) == 0 {
		return fmt.Sprintf("the command ended with %v and left nothing", exit), nil
	}
	return dead[len(dead)-1].Exit.String(), nil
}

// again is start, when another start has left a daemon: now it has to, too.
func (b *bench) again(l *lab.Lab, c lab.Command) (*lab.Session, launch, error) {
	if err := l.Clear(); err != nil {
		return nil, launch{}, err
	}
	s, ln, err := b.start(l, c)
	switch {
	case errors.Is(err, ErrNoDaemon):
		err = fmt.Errorf("%w: %w", errUnsteady, err)
	case err == nil && ln.never:
		err = fmt.Errorf("%w: the command did not end", errUnsteady)
	case err == nil && ln.daemon == nil:
		err = fmt.Errorf("%w: nothing stayed", errUnsteady)
	}
	return s, ln, err
}

// words shows what a command printed, in one line.
func words(output string) string {
	if output = oneLine(output); output == "" {
		return ""
	}
	return ": " + output
}

// oneLine makes one line of what a command printed, and not too long a one.
func oneLine(output string) string {
	const most = 300
	line := []rune(strings.Join(strings.Fields(output), " "))
	if len(line) > most {
		return string(line[:most]) + " ..."
	}
	return string(line)
}

// find returns the absolute path of the program to start: the labs start it in
// directories of their own.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
