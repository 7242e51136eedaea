//go:build linux

package daemonsteps

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"daemonsteps/internal/checks"
)

var update = flag.Bool("update", false, "write the files that tests compare with, instead of comparing")

// halves are the files that every step with a launcher has.
var halves = []string{"daemon.go", "launch.go", "main.go"}

// supervised is the step that has no launcher: the service manager is that.
const supervised = "12-systemd"

// TestStepsStandAlone holds that a step's folder can be copied and built: it is a
// main package and imports nothing but the standard library and x/sys/unix, and the
// last step one module more.
func TestStepsStandAlone(t *testing.T) {
	for _, step := range steps() {
		files, err := filepath.Glob(filepath.Join("steps", step, "*"))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, file := range files {
			names = append(names, filepath.Base(file))
			if filepath.Ext(file) != ".go" { // The last step has unit files.
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Name.Name != "main" {
				t.Errorf("%s is of package %s", file, parsed.Name.Name)
			}
			for _, spec := range parsed.Imports {
				path, _ := strconv.Unquote(spec.Path.Value)
				first, _, _ := strings.Cut(path, "/")
				known := path == "golang.org/x/sys/unix" || step == supervised && strings.HasPrefix(path, "github.com/coreos/go-systemd/v22/")
				if !known && (strings.Contains(first, ".") || first == "daemonsteps") {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
		for _, half := range halves {
			if slices.Contains(names, half) == (step == supervised && half == "launch.go") {
				t.Errorf("%s has the files %q: %s", step, names, half)
			}
		}
	}
}

// TestOneNumberNamesAStep holds that a step has its scenarios under its own name,
// and that checks and steps agree on the names of the lessons.
func TestOneNumberNamesAStep(t *testing.T) {
	for i, step := range steps() {
		if want := fmt.Sprintf("%02d-", i+1); !strings.HasPrefix(step, want) {
			t.Errorf("step %d is called %s", i+1, step)
		}
		scenarios, _ := filepath.Glob(filepath.Join("testdata", step, "*.txtar"))
		if len(scenarios) < 4 {
			t.Errorf("%s has %d scenarios: it needs the new, the old, the bite and the bad input", step, len(scenarios))
		}
	}
	if !slices.Equal(steps(), checks.Lessons) {
		t.Errorf("steps are %q, lessons of checks %q", steps(), checks.Lessons)
	}
}

// mostChanged is how many lines a step may change in files that stand.
const mostChanged = 40

// TestStepsAreSmall holds that a step changes few lines of the files that stand, and
// that no file is taken away.
func TestStepsAreSmall(t *testing.T) {
	for i, step := range steps()[1:] {
		before := steps()[i]
		changed := 0
		for _, line := range diff(t, "--numstat", filepath.Join("steps", before), filepath.Join("steps", step)) {
			var added, deleted int
			var path string
			if _, err := fmt.Sscan(line, &added, &deleted, &path); err != nil {
				t.Fatalf("git diff --numstat: %q: %v", line, err)
			}
			if path != "/dev/null" {
				changed += added + deleted
			}
		}
		if step == supervised { // It takes away, and so it has to be the smaller one.
			if now, was := lines(t, step), lines(t, before); now >= was {
				t.Errorf("%s has %d lines, and %s %d", step, now, before, was)
			}
			continue
		}
		t.Logf("%s changes %d lines of %s", step, changed, before)
		if changed == 0 || changed > mostChanged {
			t.Errorf("%s changes %d lines of the files of %s: more than 0 and at most %d are wanted", step, changed, before, mostChanged)
		}
	}
}

// lines counts the lines of a step's Go.
func lines(t *testing.T, step string) (n int) {
	t.Helper()
	for _, text := range sources(t, step) {
		n += strings.Count(text, "\n")
	}
	return n
}

// diff runs git diff on two folders and returns its lines.
func diff(t *testing.T, how, a, b string) []string {
	t.Helper()
	out, err := exec.Command("git", "diff", "--no-index", "--no-renames", how, a, b).Output()
	if e, ok := err.(*exec.ExitError); err != nil && (!ok || e.ExitCode() != 1) { // 1: they differ.
		t.Fatalf("git diff %s %s: %v", a, b, err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

var marks = map[checks.Verdict]string{checks.Pass: "✓", checks.Fail: "✗", checks.Skip: "–"}

// TestScoreboard judges every step by every check. Each step with a launcher turns some
// check of the style of SysV from ✗ to ✓, and loses none. In the foreground they are
// judged by the checks of the new style, and so is the step without a launcher. The whole
// is held as a file, which the README shows.
func TestScoreboard(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	last := len(steps())
	sysv := judgeSteps(t, &wg, last-1, func(step int) ([]string, checks.Options) {
		args, o := knownOf(t, step)
		o.Style, o.Starts = checks.SysV, 1
		if *storm {
			o.Starts = 20
		}
		return append([]string{program(steps()[step-1])}, args...), o
	})
	newStyle := judgeSteps(t, &wg, last, func(step int) ([]string, checks.Options) { return newStyleOf(t, step) })
	wg.Wait()
	if t.Failed() {
		return
	}
	for i, report := range sysv {
		if !slices.ContainsFunc(report.Checks, func(c checks.Result) bool { return c.Verdict == checks.Pass && c.Lesson == i+1 }) {
			t.Errorf("step %d turns no check", i+1)
		}
	}
	holdLessons(t, sysv)
	holdLessons(t, newStyle)
	golden(t, "testdata/scoreboard.txt", scoreboard("check", sysv)+"\n"+scoreboard("-style new", newStyle))
}

// judgeSteps judges the first n steps: known says by what. The reports are there when
// all is done that wg waits for.
func judgeSteps(t *testing.T, wg *sync.WaitGroup, n int, known func(step int) ([]string, checks.Options)) []*checks.Report {
	board := make([]*checks.Report, n)
	for i := range board {
		args, o := known(i + 1)
		wg.Add(1)
		go func() {
			defer wg.Done()
			var err error
			if board[i], err = checks.Run(context.Background(), args, o); err != nil {
				t.Errorf("judge %s -style %s: %v", steps()[i], o.Style.Name, err)
			}
		}()
	}
	return board
}

// scoreboard shows the verdicts as a table: a line for each check, a column for each step.
func scoreboard(head string, board []*checks.Report) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%-10s", head)
	for i := range board {
		fmt.Fprintf(&b, "  %02d", i+1)
	}
	b.WriteString("\n")
	for c, check := range board[0].Checks {
		fmt.Fprintf(&b, "%-10s", check.ID)
		for _, report := range board {
			fmt.Fprintf(&b, "  %s ", marks[report.Checks[c].Verdict])
		}
		b.Truncate(len(bytes.TrimRight(b.Bytes(), " ")))
		b.WriteString("\n")
	}
	return b.String()
}

// holdLessons holds that a check holds from its lesson on, and not before.
func holdLessons(t *testing.T, board []*checks.Report) {
	t.Helper()
	for i, report := range board {
		for _, c := range report.Checks {
			want := i+1 >= c.Lesson
			if report.Style == "new" && c.ID == "terminal" {
				want = true // Whoever opens no file that could be a terminal needs no O_NOCTTY.
			}
			if (c.Verdict == checks.Pass) != want {
				t.Errorf("-style %s, step %d: %s is %s (%s), and lesson %d teaches it", report.Style, i+1, c.ID, c.Verdict, c.Evidence, c.Lesson)
			}
		}
	}
}

// newStyleOf returns the command line of a step in the foreground, and what isdaemon is
// told of it.
func newStyleOf(t *testing.T, step int) (args []string, o checks.Options) {
	args, known := knownOf(t, step)
	o.Style, o.BadArgs = checks.New, known.BadArgs
	if step >= 12 { // It has no -foreground, since it knows nothing else.
		o.Activate = "unix"
		args = nil
	} else {
		args = append(args, "-foreground")
	}
	// What the first steps print comes at each tick.
	args = append(args, "-every", "50ms")
	return append([]string{program(steps()[step-1])}, args...), o
}

// knownOf returns the arguments of a step's program, and what isdaemon is told of it:
// what the step has, and the steps before it.
func knownOf(t *testing.T, step int) (args []string, o checks.Options) {
	t.Helper()
	if step >= 6 {
		o.BadArgs = []string{"-config", "/nonexistent/daemon.conf"}
	}
	if step >= 7 {
		o.Log = "daemonsteps-*/log"
	}
	if step >= 8 {
		o.PIDFile = filepath.Join(t.TempDir(), "pid")
		args = append(args, "-pidfile", o.PIDFile)
	}
	if step >= 9 {
		o.Socket = "daemonsteps-*/status"
		// The launcher looks for who holds it and finds nobody. The daemon cannot make it.
		o.BadStart = []string{"-pidfile", "/proc/self/fd/pid"}
	}
	if step >= 11 {
		o.User = "nobody"
		if os.Geteuid() != 0 { // Then it can become who it is.
			me, err := user.Current()
			if err != nil {
				t.Fatal(err)
			}
			o.User = me.Username
		}
		args = append(args, "-user", o.User)
	}
	return args, o
}

// golden compares text with a file.
func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != text {
		t.Errorf("%s is\n%s\nand the run gives\n%s", path, want, text)
	}
}
