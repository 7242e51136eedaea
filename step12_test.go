//go:build linux

package daemonsteps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"daemonsteps/internal/boot"
	"daemonsteps/internal/proc"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func init() {
	verbs["supervised"] = childOfSupervisor
	verbs["notified"] = notified
}

// childOfSupervisor says that the next commands are about the one child of the command, which
// stays. It has to be another one than before.
func childOfSupervisor(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, args)
	st := started(ts)
	before := st.daemon
	st.daemon = st.session.Info.Launcher
	about(ts, neg, []string{"child"})
	if st.daemon == before {
		ts.Fatalf("process %d is still the one that is supervised", before)
	}
}

// notified starts a command as a service manager does, and holds what it says at
// $NOTIFY_SOCKET, in order. Each message is waited for, and then a signal is sent.
//
//	notified READY=1 HUP RELOADING=1 READY=1 TERM STOPPING=1 -- COMMAND [ARG...]
func notified(ts *testscript.TestScript, neg bool, args []string) {
	dashes := slices.Index(args, "--")
	if neg || dashes < 1 || dashes == len(args)-1 {
		ts.Fatalf("usage: notified MESSAGE|SIGNAL... -- COMMAND [ARG...]")
	}
	name := ts.MkAbs("notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	ts.Check(err)
	defer os.Remove(name)
	defer conn.Close()
	var words bytes.Buffer
	cmd := exec.Command(args[dashes+1], args[dashes+2:]...)
	cmd.Dir, cmd.Stderr = ts.Getenv("WORK"), &words
	for name := range strings.SplitSeq("STATE_DIRECTORY LOGS_DIRECTORY WATCHDOG_USEC PATH", " ") {
		if value := ts.Getenv(name); value != "" {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+name)
	ts.Check(cmd.Start())
	late := time.AfterFunc(deadline, func() { cmd.Process.Kill() })
	defer late.Stop()
	conn.SetReadDeadline(time.Now().Add(deadline))
	message := make([]byte, 4096)
	var said []string
	for _, want := range args[:dashes] {
		if !strings.Contains(want, "=") {
			ts.Check(cmd.Process.Signal(signals(ts, want)[0]))
			continue
		}
		n, err := conn.Read(message)
		first, _, _ := strings.Cut(string(message[:n]), "\n")
		said = append(said, first)
		if first != want {
			cmd.Process.Kill()
			cmd.Wait()
			ts.Fatalf("it said %q (%v), and wrote %s", said, err, words.String())
		}
	}
	cmd.Wait() // The scenario compares how it ended.
	fmt.Fprint(ts.Stderr(), words.String())
	fmt.Fprintln(ts.Stdout(), cmd.ProcessState)
}

// A machine is a System on which the scenarios of step 12 run, one after the other.
type machine struct {
	*boot.System
	t      *testing.T
	cursor string // of the journal's last entry before the scenario
}

const (
	sbin = "/usr/local/sbin/daemonsteps"
	home = "/usr/local/lib/daemonsteps" // the daemon's root directory, empty
	conf = "/etc/daemonsteps/daemonsteps.conf"
)

// TestBoot boots a machine, and runs the scenarios of testdata/12-systemd/boot on it. Each
// begins with the step's files as they are, nothing of them enabled, and nothing running.
func TestBoot(t *testing.T) {
	t.Parallel()
	system, err := boot.New()
	if errors.Is(err, boot.ErrNotHere) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := system.Close(); err != nil {
			t.Error(err)
		}
	}()
	err = system.Boot(time.Minute)
	if errors.Is(err, boot.ErrNotHere) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{System: system, t: t}
	t.Run("lesson", m.types)
	testscript.RunT(inTurn{t}, testscript.Params{
		Dir:                 "testdata/12-systemd/boot",
		Cmds:                bootVerbs(),
		Setup:               m.setup,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// inTurn is a test whose subtests do not run side by side: they have one machine.
type inTurn struct{ *testing.T }

func (t inTurn) Run(name string, f func(testscript.T)) {
	t.T.Run(name, func(sub *testing.T) { f(inTurn{sub}) })
}

func (t inTurn) Parallel()     {}
func (t inTurn) Verbose() bool { return testing.Verbose() }

// setup has the machine as it was, with step 12 on it.
func (m *machine) setup(env *testscript.Env) error {
	env.Values["machine"] = m
	env.Values["stage"] = &stage{}
	for _, n := range []int{11, 12} {
		env.Setenv(fmt.Sprintf("step%d", n), program(steps()[n-1]))
	}
	env.Setenv("repo", repo())
	if err := m.restore(); err != nil {
		return err
	}
	env.Defer(func() {
		if env.T().(interface{ Failed() bool }).Failed() {
			out, _ := m.run("journalctl", "-q", "-b", "-o", "short-precise", "-n", "25")
			fmt.Fprintf(os.Stderr, "the end of the machine's journal:\n%s\n", out)
		}
	})
	return nil
}

var units = []string{"daemonsteps.socket", "daemonsteps.service"}

func (m *machine) restore() error {
	if m.PID() == 0 {
		return errors.New("the machine is down")
	}
	if err := m.Stop(deadline, "forking.service", units[0], units[1]); err != nil {
		return err
	}
	for _, dir := range []string{"/var/lib/private/daemonsteps", "/var/lib/daemonsteps", "/var/log/private/daemonsteps", "/var/log/daemonsteps",
		"/etc/systemd/system/daemonsteps.service.d", "/etc/systemd/system/forking.service"} {
		if err := os.RemoveAll(m.Path(dir)); err != nil {
			return err
		}
	}
	for _, unit := range units {
		if err := m.install(filepath.Join("steps/12-systemd", unit), "/etc/systemd/system/"+unit, 0o644); err != nil {
			return err
		}
	}
	if err := m.install("steps/12-systemd/daemonsteps.conf", conf, 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll(m.Path(home), 0o755); err != nil {
		return err
	}
	if err := m.install(program("12-systemd"), sbin, 0o755); err != nil {
		return err
	}
	if err := m.Forget(units...); err != nil {
		return err
	}
	out, err := m.run("journalctl", "--quiet", "--show-cursor", "--lines=0")
	_, m.cursor, _ = strings.Cut(strings.TrimSpace(out), "-- cursor: ")
	return err
}

// install puts a file on the machine's disk, in place of the one that is there, which
// may be running.
func (m *machine) install(from, to string, mode os.FileMode) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	to = m.Path(to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(to+".new", text, mode); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}

func (m *machine) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	cmd := m.Command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	defer stop()
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return out.String(), nil
}

func machineOf(ts *testscript.TestScript) *machine { return ts.Value("machine").(*machine) }

func bootVerbs() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"inside":  inside,
		"install": installProgram,
		"variant": variant,
		"copy":    copyInside,
		"unit":    editUnit,
		"write":   writeInside,
		"await":   awaitUnit,
		"is":      isUnit,
		"show":    showUnit,
		"journal": inJournal,
		"connect": connect,
		"crowd":   crowd,
		"signal":  killMain,
		"process": processHas,
		"reboot":  reboot,
	}
}

// inside runs a command on the machine. With "!" it must fail.
func inside(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: inside COMMAND [ARG...]")
	}
	out, err := machineOf(ts).run(args...)
	fmt.Fprint(ts.Stdout(), out)
	if (err != nil) != neg {
		ts.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// installProgram puts another program in the place of the daemon's.
func installProgram(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: install PROGRAM")
	}
	ts.Check(machineOf(ts).install(args[0], sbin, 0o755))
}

// editUnit takes lines out of a unit, puts others in their place, or adds some.
func editUnit(ts *testscript.TestScript, neg bool, args []string) {
	m, name := machineOf(ts), units[1]
	if len(args) > 0 && args[0] == "-socket" {
		name, args = units[0], args[1:]
	}
	if neg || len(args) == 0 || len(args)%2 != 0 {
		ts.Fatalf("usage: unit [-socket] LINE REPLACEMENT...")
	}
	path := m.Path("/etc/systemd/system/" + name)
	text, err := os.ReadFile(path)
	ts.Check(err)
	for i := 0; i < len(args); i += 2 {
		old, replacement := "\n"+args[i]+"\n", "\n"
		if args[i+1] != "" {
			replacement = "\n" + strings.ReplaceAll(args[i+1], `\n`, "\n") + "\n"
		}
		if bytes.Count(text, []byte(old)) != 1 {
			ts.Fatalf("%s has not one line %s", name, args[i])
		}
		text = bytes.Replace(text, []byte(old), []byte(replacement), 1)
	}
	ts.Check(os.WriteFile(path, text, 0o644))
	ts.Check(m.Reload())
}

// writeInside writes a file of the machine's disk.
func writeInside(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: write FILE TEXT")
	}
	path := machineOf(ts).Path(args[0])
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, []byte(strings.ReplaceAll(args[1], `\n`, "\n")), 0o644))
}

// copyInside puts a program of ours on the machine.
func copyInside(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: copy PROGRAM FILE")
	}
	ts.Check(machineOf(ts).install(args[0], args[1], 0o755))
}

// unitAndWants parses [UNIT] NAME=VALUE, NAME!=VALUE.
func unitAndWants(ts *testscript.TestScript, args []string) (unit string, ok func(map[string]any) bool) {
	unit = units[1]
	if len(args) > 0 && !strings.Contains(args[0], "=") {
		unit, args = args[0], args[1:]
	}
	if len(args) == 0 {
		ts.Fatalf("no property is asked for")
	}
	return unit, func(properties map[string]any) bool {
		for _, want := range args {
			name, value, _ := strings.Cut(want, "=")
			name, not := strings.CutSuffix(name, "!")
			is, known := properties[name]
			if !known {
				ts.Fatalf("%s has no property %s", unit, name)
			}
			if (fmt.Sprint(is) == value) == not {
				return false
			}
		}
		return true
	}
}

// awaitUnit waits until properties of a unit have these values.
func awaitUnit(ts *testscript.TestScript, neg bool, args []string) {
	unit, ok := unitAndWants(ts, args)
	properties, err := machineOf(ts).Await(unit, deadline, ok)
	if err != nil || neg {
		ts.Fatalf("%v: %s", err, few(properties))
	}
}

// isUnit compares properties of a unit as they are now.
func isUnit(ts *testscript.TestScript, neg bool, args []string) {
	unit, ok := unitAndWants(ts, args)
	properties, err := machineOf(ts).Properties(unit)
	ts.Check(err)
	if ok(properties) == neg {
		ts.Fatalf("%s: %s", unit, few(properties))
	}
}

// few shows what one looks at first.
func few(properties map[string]any) string {
	var b strings.Builder
	for _, name := range []string{"ActiveState", "SubState", "Result", "MainPID", "NRestarts", "ExecMainCode", "ExecMainStatus", "StatusText"} {
		fmt.Fprintf(&b, "%s=%v ", name, properties[name])
	}
	return b.String()
}

// showUnit prints a property, and sets a variable of its name to it.
func showUnit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: show PROPERTY")
	}
	properties, err := machineOf(ts).Properties(units[1])
	ts.Check(err)
	value := fmt.Sprint(properties[args[0]])
	ts.Setenv(args[0], value)
	fmt.Fprintln(ts.Stdout(), value)
}

// inJournal waits for a line of the unit, or of systemd about it, since the scenario
// began. Most are written after the fact, by whoever has been told of it.
// With ! it looks once, at what had been written when it was called.
func inJournal(ts *testscript.TestScript, neg bool, args []string) {
	unit := "daemonsteps.service"
	if len(args) == 3 && args[0] == "-u" {
		unit, args = args[1], args[2:]
	}
	if len(args) != 1 {
		ts.Fatalf("usage: journal [-u UNIT] PATTERN")
	}
	m := machineOf(ts)
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	journalctl := []string{"journalctl", "--quiet", "--output=cat", "--unit=" + unit, "--after-cursor=" + m.cursor}
	var out string
	if neg {
		if out, err = m.run("journalctl", "--sync"); err == nil {
			out, err = m.run(journalctl...)
		}
	} else {
		out, err = m.follow(pattern, append(journalctl, "--follow", "--no-tail")...)
	}
	if err != nil || pattern.MatchString(out) == neg {
		ts.Fatalf("%v; the journal of %s since the scenario began:\n%s", err, unit, out)
	}
}

// follow runs a command that goes on writing, until its output matches. It returns all
// that it has read. The command ends since nobody reads on.
func (m *machine) follow(pattern *regexp.Regexp, args ...string) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	cmd := m.Command(args...)
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		return "", err
	}
	r.SetReadDeadline(time.Now().Add(deadline))
	var out []byte
	for err == nil && !pattern.Match(out) {
		var n int
		b := make([]byte, 4096)
		n, err = r.Read(b)
		out = append(out, b[:n]...)
	}
	r.Close()
	cmd.Wait() // Its status says that it could not write.
	if err != nil {
		err = fmt.Errorf("%s: wait for %q: %w", strings.Join(args, " "), pattern, err)
	}
	return string(out), err
}

// ask connects to the daemon's socket, and returns what it is told.
func (m *machine) ask(path string) (string, error) {
	conn, err := net.DialTimeout("unix", m.Inside(path), deadline)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(deadline))
	text, err := io.ReadAll(conn)
	return string(text), err
}

func connect(ts *testscript.TestScript, neg bool, args []string) {
	path := "/run/daemonsteps.sock"
	if len(args) == 1 {
		path = args[0]
	}
	text, err := machineOf(ts).ask(path)
	fmt.Fprint(ts.Stdout(), text)
	if (err != nil || text == "") != neg {
		ts.Fatalf("connect to %s: %q, %v", path, text, err)
	}
}

// crowd makes connections, one after the other, while the daemon is restarted, and each
// must be answered. The restarts are spread among them: while one is under way, the
// connections go on.
func crowd(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: crowd CONNECTIONS RESTARTS")
	}
	connections, err := strconv.Atoi(args[0])
	ts.Check(err)
	restarts, err := strconv.Atoi(args[1])
	ts.Check(err)
	m := machineOf(ts)
	restart := func() error {
		out, err := m.run("systemctl", "restart", "daemonsteps.service")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	over := make(chan error, 1) // told when the last restart is over
	over <- nil
	pids := map[string]bool{}
	lost := 0
	for i := range connections {
		every := connections / (restarts + 1)
		due := i > 0 && i%every == 0 && i/every <= restarts
		if due { // The daemon that is there now answers this one. Then the next restart begins.
			ts.Check(<-over)
		}
		text, err := m.ask("/run/daemonsteps.sock")
		pid, _, _ := strings.Cut(text, ":")
		if err != nil || !strings.HasPrefix(pid, "pid ") {
			lost++
			fmt.Fprintf(ts.Stderr(), "connection %d: %q, %v\n", i, text, err)
		} else {
			pids[pid] = true
		}
		if due {
			go func() { over <- restart() }()
		}
	}
	ts.Check(<-over)
	if text, err := m.ask("/run/daemonsteps.sock"); err == nil { // The last daemon has answered, too.
		pid, _, _ := strings.Cut(text, ":")
		pids[pid] = true
	}
	fmt.Fprintf(ts.Stdout(), "%d of %d answered, by %d daemons\n", connections-lost, connections, len(pids))
	if (lost > 0) != neg {
		ts.Fatalf("%d of %d connections were lost", lost, connections)
	}
}

// mainPID returns the pid of the daemon, as we see it: the one in its cgroup whose pid on
// the machine is the unit's main one.
func (m *machine) mainPID(unit string) (int, error) {
	properties, err := m.Properties(unit)
	if err != nil {
		return 0, err
	}
	want, _ := properties["MainPID"].(uint32)
	group := fmt.Sprint(properties["ControlGroup"])
	text, err := os.ReadFile(m.Inside("/sys/fs/cgroup" + group + "/cgroup.procs"))
	if err != nil {
		return 0, err
	}
	// The machine's cgroup file system shows pids as its reader's namespace has them.
	for _, field := range strings.Fields(string(text)) {
		status, err := os.ReadFile("/proc/" + field + "/status")
		if err != nil {
			return 0, err
		}
		names := regexp.MustCompile(`(?m)^NSpid:.*\t(\d+)$`).FindSubmatch(status)
		if len(names) == 2 && string(names[1]) == fmt.Sprint(want) {
			return strconv.Atoi(field)
		}
	}
	return 0, fmt.Errorf("%s has no process with the main pid %d: %s", unit, want, text)
}

// killMain sends a signal to the daemon.
func killMain(ts *testscript.TestScript, neg bool, args []string) {
	unit := units[1]
	if len(args) == 3 && args[0] == "-u" {
		unit, args = args[1], args[2:]
	}
	if neg || len(args) != 1 {
		ts.Fatalf("usage: signal [-u UNIT] NAME")
	}
	pid, err := machineOf(ts).mainPID(unit)
	ts.Check(err)
	ts.Check(unix.Kill(pid, signals(ts, args[0])[0]))
}

// processHas compares what the kernel says of the daemon: a field of its status file, its
// limits, environment, descriptors, root or working directory.
func processHas(ts *testscript.TestScript, neg bool, args []string) {
	unit := units[1]
	if len(args) == 4 && args[0] == "-u" {
		unit, args = args[1], args[2:]
	}
	if len(args) != 2 {
		ts.Fatalf("usage: process [-u UNIT] WHAT PATTERN")
	}
	pid, err := machineOf(ts).mainPID(unit)
	ts.Check(err)
	dir := fmt.Sprintf("/proc/%d/", pid)
	var text string
	switch what := args[0]; what {
	case "root": // what is to be seen in it
		entries, err := os.ReadDir(dir + "root")
		ts.Check(err)
		for _, e := range entries {
			text += e.Name() + "\n"
		}
	case "cwd":
		text, err = os.Readlink(dir + "cwd")
		ts.Check(err)
	case "environ", "limits", "cgroup":
		raw, err := os.ReadFile(dir + what)
		ts.Check(err)
		text = strings.ReplaceAll(string(raw), "\x00", "\n")
	case "fds":
		entries, err := os.ReadDir(dir + "fd")
		ts.Check(err)
		for _, e := range entries {
			to, _ := os.Readlink(dir + "fd/" + e.Name())
			text += e.Name() + " " + to + "\n"
		}
	case "blocked": // by all threads: the Go runtime has one that blocks nearly all
		all := ^uint64(0)
		tasks, err := filepath.Glob(dir + "task/*/status")
		ts.Check(err)
		for _, task := range tasks {
			status, err := os.ReadFile(task)
			ts.Check(err)
			mask, err := strconv.ParseUint(string(regexp.MustCompile(`(?m)^SigBlk:\s*(.*)$`).FindSubmatch(status)[1]), 16, 64)
			ts.Check(err)
			all &= mask
		}
		text = fmt.Sprint(all)
	case "session": // whether it leads one, and its terminal
		st, err := proc.ReadStat(pid)
		ts.Check(err)
		text = fmt.Sprintf("leader %v terminal %d", st.SID == pid, st.TTYNr)
	default:
		status, err := os.ReadFile(dir + "status")
		ts.Check(err)
		m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(what) + `:\s*(.*)$`).FindSubmatch(status)
		if m == nil {
			ts.Fatalf("/proc/PID/status has no field %s", what)
		}
		text = strings.TrimSpace(string(m[1]))
	}
	pattern, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	if pattern.MatchString(text) == neg {
		ts.Fatalf("%s is %s", args[0], text)
	}
}

// reboot reboots the machine, and waits until it is up again.
func reboot(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, args)
	m := machineOf(ts)
	if out, err := m.run("systemctl", "--no-block", "reboot"); err != nil {
		ts.Fatalf("%v: %s", err, out)
	}
	how, err := m.WaitDown(time.Minute)
	ts.Check(err)
	if how != boot.Rebooted {
		ts.Fatalf("PID 1 ended by %v", how)
	}
	ts.Check(m.Boot(time.Minute))
}

// TestUnit holds that lesson 12 shows lines of the unit as they are, and that its table
// has each line of the launcher that does something, in order.
func TestUnit(t *testing.T) {
	t.Parallel()
	d := readDoc(t, "docs/12-systemd.md")
	unit, err := os.ReadFile("steps/12-systemd/daemonsteps.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range d.blocks {
		if b.why == "because TestUnit compares it" && !strings.Contains(string(unit), "\n"+b.text) {
			t.Errorf("%s:%d: these are not lines of the unit", d.path, b.line)
		}
	}
	_, table, _ := strings.Cut(d.text, "<!-- table -->\n")
	table, _, _ = strings.Cut(table, "<!-- end -->")
	var rows []string
	for line := range strings.Lines(table) {
		if m := regexp.MustCompile("^\\| `(.*?)` \\| (.+) \\|$").FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			rows = append(rows, m[1])
			for _, directive := range regexp.MustCompile("`([A-Z][A-Za-z]+=[^`]+)`").FindAllStringSubmatch(m[2], -1) {
				// What stands there with a value is in the unit, or is what holds without a line.
				if !strings.Contains(string(unit), "\n"+directive[1]+"\n") && !strings.Contains(m[2], "if not given") {
					t.Errorf("%s: the unit has no line %s", d.path, directive[1])
				}
			}
		}
	}
	if want := deeds(t, "steps/11-privileges/launch.go"); !slices.Equal(rows, want) {
		t.Errorf("%s: the table has the lines\n%s\nand launch.go\n%s", d.path, strings.Join(rows, "\n"), strings.Join(want, "\n"))
	}
}

// deeds returns the lines of a function that do something: no comments, no braces, and
// nothing that only hands an error on.
func deeds(t *testing.T, path string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "func launch(c config, args []string) error {\n")
	for line := range strings.Lines(body) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " // ")
		switch line {
		case "", "}", "return nil", "return err", "if err != nil {", "if err == nil {":
		default:
			if !strings.HasPrefix(line, "//") {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// types types the sessions of lesson 12 on the machine, and compares what comes out, as
// TestReplay does with those that need no root.
func (m *machine) types(t *testing.T) {
	if err := m.restore(); err != nil {
		t.Fatal(err)
	}
	const unit = "[Service]\nType=forking\nPIDFile=/run/forking.pid\nExecStart=/usr/local/sbin/eleven -pidfile /run/forking.pid\n"
	if err := errors.Join(m.install(program("11-privileges"), "/usr/local/sbin/eleven", 0o755),
		os.WriteFile(m.Path("/root/forking.service"), []byte(unit), 0o644)); err != nil {
		t.Fatal(err)
	}
	// The journal is to begin with the lesson.
	if out, err := m.run("journalctl", "--rotate", "--vacuum-time=1s"); err != nil {
		t.Fatal(err, out)
	}
	d := readDoc(t, "docs/12-systemd.md")
	r := &replay{is: map[string]string{}}
	for _, b := range d.blocks {
		if b.why != "because TestBoot types it on its machine" {
			continue
		}
		var out []string
		for line := range strings.Lines(b.text) {
			line = strings.TrimSuffix(line, "\n")
			if command, ok := strings.CutPrefix(line, "# "); ok {
				if len(out) > 0 {
					t.Fatalf("%s:%d: before %q the machine shows %q", d.path, b.line, line, out)
				}
				text, _ := m.run("sh", "-c", "journalctl --sync; "+command) // What it says is compared, and not how it ends.
				out = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
				if text == "" {
					out = nil
				}
				continue
			}
			if len(out) == 0 || !r.match(line, out[0]) {
				t.Fatalf("%s:%d: the document shows %q, and the machine %q", d.path, b.line, line, out)
			}
			out = out[1:]
		}
		if len(out) > 0 {
			t.Fatalf("%s:%d: at the end the machine shows %q", d.path, b.line, out)
		}
	}
}
