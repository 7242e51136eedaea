//go:build linux

package daemonsteps

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"daemonsteps/internal/boot"
	"daemonsteps/internal/checks"
	"daemonsteps/internal/isdaemon"
	"daemonsteps/internal/keep"
	"daemonsteps/internal/lab"
	"daemonsteps/internal/proc"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// deadline is when a wait is given up, with a message that shows the processes.
// No wait is expected to come near it.
const deadline = 20 * time.Second

func TestMain(m *testing.M) {
	if dir := coverDir(); dir != "" { // The processes started from this binary count, too.
		os.Setenv("GOCOVERDIR", dir)
	}
	// With -race each process would wait a second before it ends, if not told so.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	lab.Main()
	boot.Main()
	started := filepath.Base(os.Args[0]) == "isdaemon" // by a scenario, and not here
	if !started && !raceDetector && coverDir() == "" { // They look at processes of this program alone.
		var err error
		if lab.Helper, err = keep.LabHelper(repo()); err != nil {
			fmt.Fprintln(os.Stderr, "build the lab's helper:", err)
			os.Exit(1)
		}
	}
	testscript.Main(watched{m}, map[string]func(){
		"isdaemon": func() { os.Exit(isdaemon.Main(os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// coverDir returns where go test -cover wants the counters of other processes.
func coverDir() string {
	for _, arg := range os.Args[1:] {
		if dir, ok := strings.CutPrefix(arg, "-test.gocoverdir="); ok {
			return dir
		}
	}
	return ""
}

// TestScenarios runs every scenario of every step, and those of isdaemon. The
// verbs that a scenario may use stand in testdata/README.md.
func TestScenarios(t *testing.T) {
	for _, step := range steps() { // Builds them, on nobody's time.
		program(step)
	}
	article()
	entries, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		t.Run(e.Name(), func(t *testing.T) {
			t.Parallel()
			testscript.Run(t, testscript.Params{
				Dir:                 filepath.Join("testdata", e.Name()),
				Cmds:                verbs,
				Setup:               setup,
				Condition:           condition,
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
			})
		})
	}
}

func setup(env *testscript.Env) error {
	st := &stage{}
	env.Values["stage"] = st
	env.Defer(func() {
		if st.lab != nil {
			if err := giveBack(st.lab, st.init); err != nil {
				env.T().Fatal("close the lab: ", err)
			}
		}
	})
	for _, step := range steps() {
		n, _ := strconv.Atoi(step[:2])
		env.Setenv(fmt.Sprintf("step%d", n), program(step))
	}
	// All of 127.0.0.0/8 is this machine. Another run of the tests has another pid.
	pid := os.Getpid()
	env.Setenv("local", fmt.Sprintf("127.%d.%d.%d:17079", 1+pid>>16, pid>>8&0xff, pid&0xff))
	env.Setenv("article", article())
	env.Setenv("repo", repo())
	return nil
}

var haveNamespaces = sync.OnceValue(func() error {
	l, err := lab.New(lab.Options{Init: true})
	if err != nil {
		return err
	}
	return l.Close()
})

func condition(cond string) (bool, error) {
	if f, ok := conditions[cond]; ok {
		return f()
	}
	return false, fmt.Errorf("no condition is called %q", cond)
}

var conditions = map[string]func() (bool, error){
	"namespaces": func() (bool, error) {
		err := haveNamespaces()
		if err != nil && !errors.Is(err, lab.ErrNoNamespace) {
			return false, err
		}
		return err == nil, nil
	},
	"root": func() (bool, error) { return os.Geteuid() == 0, nil },
}

// A stage is what one scenario has set up.
type stage struct {
	lab     *lab.Lab
	init    bool
	session *lab.Session
	exit    lab.Exit
	daemon  int // its pid, or 0
}

var verbs = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"start":       start,
	"expect":      expect,
	"lives":       lives,
	"ends":        ends,
	"left":        left,
	"hangup":      onSession((*lab.Session).Hangup),
	"stopreading": onSession((*lab.Session).StopReading),
	"type":        typeKeys,
	"shows":       shows,
	"signal":      sendSignal,
	"eof":         eof,
	"umount":      umount,
	"variant":     variant,
	"fails":       fails,
	"skips":       skips,
	"evidence":    evidence,
	"symlinkto":   symlinkTo,
	"judge":       judge,
}

// labs are those that a scenario has done with. Another one takes them over, when
// nothing is left in them.
var labs = make(chan *lab.Lab, 16)

func takeLab(asInit bool) (*lab.Lab, error) {
	if !asInit {
		select {
		case l := <-labs:
			return l, nil
		default:
		}
	}
	return lab.New(lab.Options{Init: asInit})
}

func giveBack(l *lab.Lab, asInit bool) error {
	if err := l.Clear(); err != nil || asInit {
		return errors.Join(err, l.Close())
	}
	select {
	case labs <- l:
		return nil
	default:
		return l.Close()
	}
}

func stageOf(ts *testscript.TestScript) *stage { return ts.Value("stage").(*stage) }

// started returns the stage, once there is something on it.
func started(ts *testscript.TestScript) *stage {
	st := stageOf(ts)
	if st.session == nil {
		ts.Fatalf("nothing was started")
	}
	return st
}

func noArgs(ts *testscript.TestScript, args []string) {
	if len(args) > 0 {
		ts.Fatalf("unexpected argument %q", args[0])
	}
}

// start runs a command in a lab, waits until it has returned and all is at rest,
// and finds the daemon. With "!" the command must fail.
func start(ts *testscript.TestScript, neg bool, args []string) {
	c := lab.Command{Env: map[string]string{}}
	mount, never := false, false
	st := stageOf(ts)
	value := func() string {
		if len(args) < 2 {
			ts.Fatalf("%s needs a value", args[0])
		}
		args = args[1:]
		return args[0]
	}
	for ; len(args) > 0 && strings.HasPrefix(args[0], "-"); args = args[1:] {
		switch args[0] {
		case "-script":
			c.Way = lab.Script
		case "-direct":
			c.Way = lab.Direct
		case "-pipe":
			c.Pipe = true
		case "-umask":
			n, err := strconv.ParseInt(value(), 8, 32)
			ts.Check(err)
			c.Umask = int(n)
		case "-hold":
			fd, path, _ := strings.Cut(value(), "=")
			n, err := strconv.Atoi(fd)
			ts.Check(err)
			c.Hold = map[int]string{n: ts.MkAbs(path)}
		case "-ignore":
			c.Ignore = signals(ts, value())
		case "-block":
			c.Block = signals(ts, value())
		case "-env":
			name, val, _ := strings.Cut(value(), "=")
			c.Env[name] = val
		case "-init":
			st.init = true
		case "-mount":
			mount = true
		case "-never":
			never = true
		default:
			ts.Fatalf("start has no flag %s", args[0])
		}
	}
	if len(args) == 0 {
		ts.Fatalf("start: no command given")
	}
	path, err := exec.LookPath(args[0])
	ts.Check(err)
	c.Args = append([]string{path}, args[1:]...)
	if st.lab == nil {
		st.lab, err = takeLab(st.init)
		ts.Check(err)
	}
	if st.session != nil { // A second start has nothing of the first about it.
		ts.Check(st.lab.Clear())
	}
	if mount {
		c.Dir = filepath.Join(st.lab.Place(), "mounted")
		ts.Check(os.Mkdir(c.Dir, 0o755))
		ts.Check(st.lab.Mount(c.Dir))
	}
	st.session, err = st.lab.Start(c)
	ts.Check(err)
	st.daemon = 0
	ts.Setenv("DAEMON_TMPDIR", st.session.Info.TmpDir)
	if never {
		// The command is to stay, as it does in the foreground: it is the daemon.
		live, err := st.lab.Rest(deadline)
		ts.Check(err)
		if !slices.Contains(live, st.session.Info.Launcher) {
			ts.Fatalf("the command has ended")
		}
		st.daemon = st.session.Info.Launcher
		return
	}
	st.exit, err = st.session.Wait(deadline)
	ts.Check(err)
	live, err := st.lab.Rest(deadline)
	ts.Check(err)
	if len(live) > 0 {
		st.daemon = live[0]
	}
	out, stderr, err := st.session.Output()
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), out)
	fmt.Fprint(ts.Stderr(), stderr)
	ts.Setenv("DAEMON", strconv.Itoa(st.daemon))
	if st.exit.OK() == neg {
		ts.Fatalf("the command ended with %v", st.exit)
	}
}

func signals(ts *testscript.TestScript, names string) (list []syscall.Signal) {
	for name := range strings.SplitSeq(names, ",") {
		sig := unix.SignalNum("SIG" + name)
		if sig == 0 {
			ts.Fatalf("no signal is called %s", name)
		}
		list = append(list, sig)
	}
	return list
}

// expect compares something of a process with something else.
func expect(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 || neg || !slices.Contains([]string{"=", "!=", "~"}, args[1]) {
		ts.Fatalf("usage: expect THING =|!= THING, or THING ~ PATTERN")
	}
	a, b := thing(ts, args[0]), thing(ts, args[2])
	ok := (a == b) == (args[1] == "=")
	if args[1] == "~" {
		re, err := regexp.Compile(b)
		ts.Check(err)
		ok = re.MatchString(a)
	}
	if !ok {
		ts.Fatalf("%s is %s, and %s is %s", args[0], a, args[2], b)
	}
}

// thing returns the value of daemon.FIELD, shell.pid, terminal and so on, or the
// word itself.
func thing(ts *testscript.TestScript, word string) string {
	st := started(ts)
	info := st.session.Info
	switch word {
	case "shell.pid", "terminal.sid":
		return strconv.Itoa(info.Leader)
	case "launcher.pid":
		return strconv.Itoa(info.Launcher)
	case "subreaper.pid":
		return strconv.Itoa(st.lab.Guardian())
	case "terminal":
		return info.TTY
	case "/dev/terminal":
		return "/dev/" + info.TTY
	case "start.dir":
		return info.Start
	}
	field, ok := strings.CutPrefix(word, "daemon.")
	if !ok {
		return word
	}
	if st.daemon == 0 {
		ts.Fatalf("there is no daemon")
	}
	p, err := st.lab.State(st.daemon)
	ts.Check(err)
	if n, ok := strings.CutPrefix(field, "fd"); ok {
		for _, fd := range p.FDs {
			if strconv.Itoa(fd.FD) == n {
				return fd.Target
			}
		}
		return "none"
	}
	none := func(s string) string {
		if s == "" {
			return "none"
		}
		return s
	}
	switch field {
	case "pid":
		return strconv.Itoa(p.PID)
	case "ppid":
		return strconv.Itoa(p.PPID)
	case "pgid":
		return strconv.Itoa(p.PGID)
	case "sid":
		return strconv.Itoa(p.SID)
	case "tty":
		return none(p.TTY)
	case "cwd":
		return p.Cwd
	case "umask":
		return p.Umask.String()
	case "args":
		return strings.Join(p.Cmdline[1:], " ")
	case "blocked":
		return none(strings.Join(p.Blocked, " "))
	case "ignored":
		return none(strings.Join(p.Ignored, " "))
	}
	ts.Fatalf("a process has no %s", field)
	return ""
}

// lives says that the daemon is there, when all is at rest.
func lives(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, args)
	st := started(ts)
	live, err := st.lab.Rest(deadline)
	ts.Check(err)
	if slices.Contains(live, st.daemon) == neg {
		ts.Fatalf("the daemon is %d, and these live: %v", st.daemon, live)
	}
}

// ends waits for the daemon's end, and says how it ended.
func ends(ts *testscript.TestScript, neg bool, args []string) {
	st := started(ts)
	pid := st.daemon
	if pid == 0 { // It ended before anybody saw it: the last orphan that did.
		dead, err := st.lab.Ended()
		ts.Check(err)
		if len(dead) == 0 {
			ts.Fatalf("there was no daemon")
		}
		pid = dead[len(dead)-1].PID
	}
	var exit lab.Exit
	var err error
	if pid == st.session.Info.Launcher { // Its shell has waited for it.
		exit, err = st.session.Wait(deadline)
	} else {
		exit, err = st.lab.WaitExit(pid, deadline)
	}
	ts.Check(err)
	if want := strings.Join(args, " "); (exit.String() == want) == neg {
		ts.Fatalf("the daemon ended with %v", exit)
	}
}

// left says what is left: "nothing", or the names of files in TMPDIR, as patterns.
func left(ts *testscript.TestScript, neg bool, args []string) {
	st := started(ts)
	live, err := st.lab.Rest(deadline)
	ts.Check(err)
	var there []string
	ts.Check(filepath.WalkDir(st.session.Info.TmpDir, func(path string, _ os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(st.session.Info.TmpDir, path); rel != "." {
			there = append(there, rel)
		}
		return err
	}))
	if len(args) == 1 && args[0] == "nothing" {
		if nothing := len(live) == 0 && len(there) == 0; nothing == neg {
			ts.Fatalf("left: processes %q, files %q", described(st, live), there)
		}
		return
	}
	if neg || len(args) != len(there) {
		ts.Fatalf("left: processes %q, files %q", described(st, live), there)
	}
	for i, pattern := range args {
		if ok, err := filepath.Match(pattern, there[i]); err != nil || !ok {
			ts.Fatalf("left: %q, not %q (%v)", there[i], pattern, err)
		}
	}
}

// described says what processes are.
func described(st *stage, pids []int) (list []string) {
	for _, pid := range pids {
		p, err := st.lab.State(pid)
		if err != nil {
			list = append(list, err.Error())
			continue
		}
		list = append(list, fmt.Sprintf("%d, child of %d, in session %d, state %s: %s", p.PID, p.PPID, p.SID, p.State, strings.Join(p.Cmdline, " ")))
	}
	return list
}

func onSession(f func(*lab.Session) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		noArgs(ts, args)
		ts.Check(f(started(ts).session))
	}
}

// typeKeys types on the terminal; ^C is the control key.
func typeKeys(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(started(ts).session.Type(strings.ReplaceAll(strings.Join(args, " "), "^C", "\x03")))
}

// shows waits until a text comes out.
func shows(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(started(ts).session.WaitOutput(strings.Join(args, " "), deadline))
}

func sendSignal(ts *testscript.TestScript, neg bool, args []string) {
	st := started(ts)
	for _, sig := range signals(ts, strings.Join(args, ",")) {
		ts.Check(st.lab.Signal(st.daemon, sig))
	}
}

// eof says that whoever reads the command's output has come to its end.
func eof(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, args)
	ended, err := started(ts).session.PipesEnded()
	ts.Check(err)
	if ended == neg {
		ts.Fatalf("end of the pipes: %v", ended)
	}
}

// umount takes away the file system on which the command was started. With "!"
// it must be busy.
func umount(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, args)
	st := started(ts)
	err := st.lab.Unmount(filepath.Join(st.lab.Place(), "mounted"))
	if neg && !errors.Is(err, unix.EBUSY) || !neg && err != nil {
		ts.Fatalf("umount: %v", err)
	}
}

// symlinkTo makes a symbolic link, also to what is not there.
func symlinkTo(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: symlinkto TARGET LINK")
	}
	ts.Check(os.Symlink(args[0], ts.MkAbs(args[1])))
}

// variant builds a step with something else in place of some of its own lines,
// as $variant.
func variant(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 4 || (len(args)-1)%3 != 0 {
		ts.Fatalf("usage: variant $stepN (FILE OLD NEW)...")
	}
	step := filepath.Base(args[0])
	replace := map[string]string{}
	for edit := range slices.Chunk(args[1:], 3) {
		path := filepath.Join(repo(), "steps", step, edit[0])
		at := replace[path]
		if at == "" {
			at = path
		}
		text := ts.ReadFile(at)
		from, to := unescape(edit[1]), unescape(edit[2])
		if n := strings.Count(text, from); n != 1 {
			ts.Fatalf("%s has %q %d times, not once", edit[0], from, n)
		}
		changed := ts.MkAbs("variant-" + edit[0])
		ts.Check(os.WriteFile(changed, []byte(strings.Replace(text, from, to, 1)), 0o666))
		replace[path] = changed
	}
	bin, err := build(step, replace)
	ts.Check(err)
	ts.Setenv("variant", bin)
}

func unescape(s string) string {
	return strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(s)
}

// judge runs isdaemon in this process; exec isdaemon does so in another.
func judge(ts *testscript.TestScript, neg bool, args []string) {
	status := isdaemon.Main(args, ts.Stdout(), ts.Stderr())
	if (status != 0) != neg {
		ts.Fatalf("isdaemon ended with status %d", status)
	}
}

// report reads what isdaemon -json has printed last.
func report(ts *testscript.TestScript) *checks.Report {
	var r checks.Report
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &r))
	return &r
}

func verdicts(v checks.Verdict) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		var ids []string
		for _, c := range report(ts).Checks {
			if c.Verdict == v {
				ids = append(ids, c.ID)
			}
		}
		// What a race decides has a question mark.
		args = slices.DeleteFunc(slices.Clone(args), func(id string) bool {
			plain, maybe := strings.CutSuffix(id, "?")
			return maybe && !slices.Contains(ids, plain)
		})
		for i, id := range args {
			args[i] = strings.TrimSuffix(id, "?")
		}
		if !slices.Equal(ids, args) {
			ts.Fatalf("%s: %s", v, strings.Join(ids, " "))
		}
	}
}

// fails and skips name the checks that isdaemon -json failed or skipped: these
// and no others.
var fails, skips = verdicts(checks.Fail), verdicts(checks.Skip)

// evidence matches the evidence of one check.
func evidence(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: evidence ID PATTERN")
	}
	re, err := regexp.Compile(args[1])
	ts.Check(err)
	for _, c := range report(ts).Checks {
		if c.ID == args[0] {
			if re.MatchString(c.Evidence) == neg {
				ts.Fatalf("evidence of %s: %s", c.ID, c.Evidence)
			}
			return
		}
	}
	ts.Fatalf("no check %s in the report", args[0])
}

// repo is the root of this repository, where go test runs this package's tests.
var repo = sync.OnceValue(func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
})

// steps returns the names of the steps, in order.
var steps = sync.OnceValue(func() []string {
	entries, err := os.ReadDir(filepath.Join(repo(), "steps"))
	if err != nil {
		panic(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
})

// build returns the path of a step's program, built with some files replaced.
//
// What was built is kept: building is most of what these tests would do, and nearly
// always of the same.
func build(step string, replace map[string]string) (string, error) {
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	sources, err := filepath.Glob(filepath.Join(repo(), "steps", step, "*"))
	if err != nil {
		return "", err
	}
	for i, path := range sources {
		if to, ok := replace[path]; ok {
			sources[i] = to
		}
	}
	sources = append(sources, filepath.Join(repo(), "go.mod"), filepath.Join(repo(), "go.sum"))
	return kept(step, sources, func(bin, tmp string) error {
		file := filepath.Join(tmp, "overlay.json")
		if err := os.WriteFile(file, overlay, 0o666); err != nil {
			return err
		}
		return goBuild(repo(), "-overlay", file, "-o", bin, "./steps/"+step)
	})
}

func goBuild(dir string, args ...string) error { return keep.Go(dir, args...) }

func kept(name string, sources []string, build func(path, tmp string) error) (string, error) {
	return keep.Build(repo(), name, sources, build)
}

// program returns the path of a built step.
func program(step string) string {
	path, err := build(step, nil)
	if err != nil {
		panic(err)
	}
	return path
}

// built are the directories to remove when all tests are done.
var built []string

// endSteps ends the steps' programs that run without a lab. A daemon that loses its
// launcher becomes our child.
func endSteps() {
	syscall.ForkLock.Lock() // From here on we start nothing.
	for found := true; found; {
		found = false
		children, _ := proc.Children(os.Getpid())
		for _, pid := range children {
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			if err == nil && slices.Contains(steps(), filepath.Base(exe)) { // One that has ended has none.
				unix.Kill(pid, unix.SIGKILL)
				unix.Wait4(pid, nil, 0, nil) // What it leaves is our child by then.
				found = true
			}
		}
	}
}

// interrupted names a program that the test binary starts without a lab, to be
// interrupted then: it is another program with that (TestTestsInterrupted).
const interrupted = "TESTS_INTERRUPTED"

// startAndWait says what bin says, the pid of its daemon. It returns if that fails.
func startAndWait(bin string) int {
	launcher := exec.Command(bin, "-every", "1h")
	launcher.Stderr = os.Stderr
	out, err := launcher.Output()
	if err == nil {
		_, err = os.Stdout.Write(out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start", bin+":", err)
		return 1
	}
	select {}
}

// moreAtOnce has twice as many tests run at once as there are processors, if nobody has
// said how many: half of the time they wait for another process.
func moreAtOnce() {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0)))
	}
}

// watched runs the tests, and then looks for what they have left behind.
type watched struct{ m *testing.M }

func (w watched) Run() int {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become a child subreaper:", err)
		return 1
	}
	// All that the tests make for themselves is made here.
	keep.InMemory()
	dir, err := os.MkdirTemp("", "tests-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Chmod(dir, 0o755)
	os.Setenv("TMPDIR", dir)
	// testscript has made a directory before this one, with our command in it.
	var commands string
	if command, err := exec.LookPath("isdaemon"); err == nil {
		commands = filepath.Dir(filepath.Dir(command))
	}
	if !strings.HasPrefix(filepath.Base(commands), "testscript-main") {
		fmt.Fprintf(os.Stderr, "isdaemon is in %q, which is not testscript's\n", commands)
		return 1
	}
	// The guardians end the labs' processes when we have gone.
	keep.RemoveIfInterrupted(dir, func() {
		os.RemoveAll(commands)
		endSteps()
	})
	if bin := os.Getenv(interrupted); bin != "" {
		return startAndWait(bin)
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	moreAtOnce()
	code := w.m.Run()
	close(labs)
	for l := range labs {
		if err := l.Close(); err != nil {
			fmt.Fprintln(os.Stderr, "FAIL: close a lab:", err)
			code = 1
		}
	}
	for _, dir := range append(built, keep.Temporary()...) {
		os.RemoveAll(dir)
	}
	var found []string
	// Whatever lost its parent below us has become our child. What ended is no
	// matter: it only waits for us.
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
			break
		}
	}
	children, err := proc.Children(os.Getpid())
	if err != nil {
		found = append(found, err.Error())
	}
	for _, pid := range children {
		p, _ := proc.Read(pid)
		found = append(found, fmt.Sprintf("process %d (%s), state %s, %q", pid, p.Comm, p.State, p.Cmdline))
	}
	if now, _ := os.ReadFile("/proc/self/mountinfo"); string(now) != string(mounts) {
		found = append(found, "other mounts than before")
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range left {
		// testscript leaves its directory, empty, if -run chooses some scripts only.
		if strings.HasPrefix(filepath.Base(path), "go-test-script") && os.Remove(path) == nil {
			continue
		}
		found = append(found, "file "+path)
	}
	os.RemoveAll(dir)
	if len(found) > 0 {
		fmt.Fprintf(os.Stderr, "FAIL: left behind by the tests:\n\t%s\n", strings.Join(found, "\n\t"))
		return 1
	}
	return code
}
