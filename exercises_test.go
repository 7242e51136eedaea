//go:build linux

package daemonsteps

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"daemonsteps/internal/checks"
	"daemonsteps/internal/isdaemon"
)

// answers hold what solves each exercise, out of the learner's way: the file to
// change, whole, the hashes of the exercise as it is before anybody solves it, and
// what isdaemon is given to judge it (isdaemon.args).
const answers = "exercises/testdata/answers"

// An exercise is a program with one mistake, and what is seen of that.
type exercise struct {
	name     string
	fails    string // the one check that fails
	evidence string // a pattern
	timeout  time.Duration
}

var exercises = []exercise{
	// The launcher waits for the daemon, which never ends. Nothing is decided by how
	// long it is given: it would not return after any time.
	{"01-fork", "background", `^the command had not ended after 200ms: `, 200 * time.Millisecond},
	// The daemon calls setsid itself. As a shell's job there is time for that; started
	// directly on the terminal, the launcher's end hangs up before.
	{"02-setsid", "hangup", `^as a shell's job it survived; started directly on the terminal it survived 1?[0-9] of 20 times \(killed by SIGHUP\)$`, 0},
	// /dev/null is open for reading alone. Reading is what descriptor 0 is for.
	{"03-close-fds", "stdio", `^1 is /dev/null, not open for writing; 2 is /dev/null, not open for writing$`, 0},
	// The working directory is /, but the log was opened where the program was started.
	{"04-chdir", "cwd", `^descriptor 1 is \S*/start/ticks.log, where it was started; descriptor 2 is \S*/start/ticks.log, where it was started$`, 0},
	// os.Exit ends it with status 0 as it should be, but deferred calls do not run.
	{"05-signals", "leftovers", `^left behind: in its TMPDIR: daemonsteps-\d+, daemonsteps-\d+/ticks$`, 0},
	// The launcher hands -every on unread. The daemon refuses it where nobody looks.
	{"06-config", "faults", `^the command ended with status 0$`, 0},
	// On SIGHUP the log is written to the disk, and not opened again.
	{"07-log", "reopen", `^it goes on in the renamed log$`, 0},
	// The pid is written by another descriptor. When that is closed, the lock goes.
	{"08-pidfile", "single", `^a second start left process \d+, beside \d+$`, 0},
	// That the pipe came to its end is no error for io.ReadAll.
	{"09-ready", "told", `^the command ended with status 0$`, 0},
	// The leader's child gets a session once more, and leads it.
	{"10-refork", "leader", `^it leads session \d+$`, 0},
	// With nil for its environment, a child gets its parent's.
	{"11-privileges", "environ", `^it was started with LAB_STRAY, a variable of its caller's$`, 0},
	// The first message takes $NOTIFY_SOCKET out of the environment, for all that follow.
	{"12-systemd", "reloading", `^after SIGHUP it said nothing: nobody can know when it has done what it was told$`, 0},
}

func (e exercise) dir() string { return filepath.Join("exercises", e.name) }

// through is the number of the exercise, and of the last lesson it is judged by.
func (e exercise) through() int {
	n, _ := strconv.Atoi(e.name[:2])
	return n
}

// sources are the files of the exercise as the learner has them, with their text.
func (e exercise) sources(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(e.dir(), "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(path)] = string(text)
	}
	return texts
}

// changed says whether somebody has changed the exercise. What sha256sum(1) prints
// for the files is what is recorded.
func (e exercise) changed(t *testing.T) bool {
	t.Helper()
	record, err := os.ReadFile(filepath.Join(answers, e.name, "unsolved.sha256"))
	if err != nil {
		t.Fatal(err)
	}
	var now []string
	for name, text := range e.sources(t) {
		now = append(now, fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte(text)), name))
	}
	recorded := slices.Collect(strings.Lines(string(record)))
	slices.Sort(now)
	slices.Sort(recorded)
	return !slices.Equal(now, recorded)
}

// answer returns the name of the file to change, and the path of the changed one.
func (e exercise) answer(t *testing.T) (file, path string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(answers, e.name, "*.go.txt"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("answers to %s: %q, %v; one file is wanted", e.name, paths, err)
	}
	return strings.TrimSuffix(filepath.Base(paths[0]), ".txt"), paths[0]
}

// build returns the path of the built program. replace are files that stand for
// others.
func (e exercise) build(t *testing.T, replace map[string]string) string {
	t.Helper()
	overlay := map[string]string{}
	sources := []string{"go.mod", "go.sum"}
	for name := range e.sources(t) {
		path := filepath.Join(e.dir(), name)
		if to, ok := replace[name]; ok {
			overlay[filepath.Join(repo(), path)] = filepath.Join(repo(), to)
			path = to
		}
		sources = append(sources, path)
	}
	slices.Sort(sources)
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	bin, err := kept(e.name, sources, func(bin, tmp string) error {
		file := filepath.Join(tmp, "overlay.json")
		if err := os.WriteFile(file, text, 0o666); err != nil {
			return err
		}
		return goBuild(repo(), "-overlay", file, "-o", bin, "./"+e.dir())
	})
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// judge returns what isdaemon says of a program, when it is given what make exerciseN
// gives it. With whole it judges by all checks of the lessons so far, and not only by
// the one that the exercise is about.
func (e exercise) judge(t *testing.T, bin string, timeout time.Duration, whole bool) (*checks.Report, error) {
	t.Helper()
	starts := 1
	if e.fails == "hangup" {
		starts = 20 // A race decides, and that once in a while the other way.
	}
	args := []string{"-json", fmt.Sprintf("-through=%d", e.through())}
	if e.name != supervised { // No race decides about one that stays where it was started.
		args = append(args, fmt.Sprintf("-starts=%d", starts))
	}
	if !whole {
		args = append(args, "-only="+e.fails)
	}
	if timeout != 0 {
		args = append(args, "-timeout="+timeout.String())
	}
	text, err := os.ReadFile(filepath.Join(answers, e.name, "isdaemon.args"))
	if err != nil {
		return nil, err
	}
	// A shell takes its quotes away, as it does for make.
	words := strings.NewReplacer("PROGRAM", "'"+bin+"'", "PIDFILE", "'"+filepath.Join(t.TempDir(), "pid")+"'")
	shell := exec.Command("sh", "-c", `printf '%s\n' `+words.Replace(string(text)))
	text, err = shell.Output()
	if err != nil {
		return nil, err
	}
	args = append(args, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")...)
	var stdout, stderr bytes.Buffer
	if status := isdaemon.Main(args, &stdout, &stderr); status == 2 {
		return nil, errors.New(stderr.String())
	}
	var r checks.Report
	return &r, json.Unmarshal(stdout.Bytes(), &r)
}

// failures returns the evidence of the checks that fail, by id.
func failures(r *checks.Report) map[string]string {
	failed := map[string]string{}
	if r != nil {
		for _, c := range r.Checks {
			if c.Verdict == checks.Fail {
				failed[c.ID] = c.Evidence
			}
		}
	}
	return failed
}

// TestExercises holds that each exercise fails for its own reason and no other, and
// that its answer mends it: by all checks with -storm. A learner who runs it has perhaps solved some: then their
// program is judged, and the test says what came of it.
func TestExercises(t *testing.T) {
	t.Parallel()
	for _, e := range exercises {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			if e.changed(t) {
				e.yours(t)
				return
			}
			file, path := e.answer(t)
			unsolved, answer := e.build(t, nil), e.build(t, map[string]string{file: path})
			var wg sync.WaitGroup // Both at once: they mostly wait.
			defer wg.Wait()
			wg.Add(2)
			go func() {
				defer wg.Done()
				r, err := e.judge(t, unsolved, e.timeout, *storm)
				failed := failures(r)
				if err != nil || len(failed) != 1 || !regexp.MustCompile(e.evidence).MatchString(failed[e.fails]) {
					t.Errorf("unsolved: failed are %q (%v), and not %s alone with %q", failed, err, e.fails, e.evidence)
				}
			}()
			go func() {
				defer wg.Done()
				r, err := e.judge(t, answer, 0, *storm)
				if err != nil {
					t.Errorf("answer: %v", err)
					return
				}
				for _, c := range r.Checks {
					// What an exercise does not have, such as a PID file, is not judged, and the
					// last one leaves nothing that could stay behind.
					if c.Verdict != checks.Pass && (c.ID == e.fails || !strings.HasSuffix(c.Evidence, "is not given") && !strings.HasSuffix(c.Evidence, "nothing to leave")) {
						t.Errorf("answer: %s: %s: %s", c.Verdict, c.ID, c.Evidence)
					}
				}
			}()
		})
	}
}

// yours judges an exercise that somebody has changed. It fails only where a change
// should not come unnoticed: in continuous integration, if it solves nothing.
func (e exercise) yours(t *testing.T) {
	r, err := e.judge(t, e.build(t, nil), 0, true)
	failed := failures(r)
	if err == nil && len(failed) == 0 {
		t.Skipf("%s was changed, and is solved now: it cannot be shown unsolved", e.dir())
	}
	say := t.Skipf
	if os.Getenv("CI") != "" {
		say = t.Errorf
	}
	say("%s was changed, and is not solved yet: failed %q, error %v. "+
		"If it is meant to be the exercise itself, write what sha256sum *.go prints there to %s",
		e.dir(), failed, err, filepath.Join(answers, e.name, "unsolved.sha256"))
}

const (
	mostFiles      = 4
	mostReadme     = 25 // lines
	mostDifference = 10 // lines, added and deleted
)

// TestExercisesStandAlone holds that an exercise's folder can be copied and built,
// that it tells what to do, and that its answer is small.
func TestExercisesStandAlone(t *testing.T) {
	t.Parallel()
	var names []string
	for i, e := range exercises {
		names = append(names, e.name)
		if want := checks.Lessons[i]; e.name != want {
			t.Errorf("exercise %d is called %s, and its lesson %s", i+1, e.name, want)
		}
		style := checks.SysV
		if e.name == supervised {
			style = checks.New
		}
		if c, ok := style.Find(e.fails); !ok || c.Lesson != e.through() {
			t.Errorf("%s fails %s, which is no check of its lesson", e.name, e.fails)
		}
		sources := e.sources(t)
		if len(sources) < 2 || len(sources) > mostFiles {
			t.Errorf("%s has %d files: 2 to %d are wanted", e.name, len(sources), mostFiles)
		}
		for name, text := range sources {
			parsed, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
			if err != nil {
				if !e.changed(t) {
					t.Error(err)
				}
				continue
			}
			if parsed.Name.Name != "main" {
				t.Errorf("%s of %s is of package %s", name, e.name, parsed.Name.Name)
			}
			for _, spec := range parsed.Imports {
				path, _ := strconv.Unquote(spec.Path.Value)
				first, _, _ := strings.Cut(path, "/")
				known := path == "golang.org/x/sys/unix" || e.name == supervised && strings.HasPrefix(path, "github.com/coreos/go-systemd/v22/")
				if !known && (strings.Contains(first, ".") || first == "daemonsteps") {
					t.Errorf("%s of %s imports %s", name, e.name, path)
				}
			}
		}

		file, path := e.answer(t)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if formatted, err := format.Source(text); err != nil || string(formatted) != string(text) {
			t.Errorf("gofmt would change %s (%v)", path, err)
		}
		if !e.changed(t) {
			var added, deleted int
			line := strings.Join(diff(t, "--numstat", filepath.Join(e.dir(), file), path), "")
			if _, err := fmt.Sscan(line, &added, &deleted); err != nil || added+deleted == 0 || added+deleted > mostDifference {
				t.Errorf("the answer to %s adds %d lines and deletes %d (%v): 1 to %d together are wanted",
					e.name, added, deleted, err, mostDifference)
			}
		}

		readme, err := os.ReadFile(filepath.Join(e.dir(), "README.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		if n := strings.Count(string(readme), "\n"); n > mostReadme {
			t.Errorf("the README.md of %s has %d lines, and at most %d are wanted", e.name, n, mostReadme)
		}
		for _, want := range []string{fmt.Sprintf("\n    make exercise%d\n", e.through()), "`" + file + "`", "docs/" + e.name + ".md", "`git checkout " + e.dir() + "`"} {
			if !strings.Contains(string(readme), want) {
				t.Errorf("the README.md of %s does not say %q", e.name, want)
			}
		}
	}
	entries, err := fs.Glob(os.DirFS("exercises"), "[0-9]*")
	if err != nil || !slices.Equal(entries, names) {
		t.Errorf("in exercises/ there are %q, and the tests know %q (%v)", entries, names, err)
	}
}

// TestMakeExercise holds what make answers to a number: for an exercise what it would
// do, for another an error that lists them.
func TestMakeExercise(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make(1) is not installed")
	}
	var names []string
	for _, e := range exercises {
		names = append(names, e.name)
	}
	for _, c := range []struct {
		args   []string
		status int
		want   string // a part
	}{
		{[]string{"exercise99"}, 2, `no exercise "99"; the exercises are ` + strings.Join(names, " ")},
		{[]string{"--dry-run", "exercise3"}, 0, "bin/isdaemon -through 3 -- bin/exercises/03-close-fds"},
		{[]string{"--dry-run", "exercise03"}, 0, "bin/isdaemon -through 3 -- bin/exercises/03-close-fds"},
		{[]string{"--dry-run", "exercise8"}, 0, "bin/isdaemon -through 8 -bad-args -every=-1s -log 'daemonsteps-*/log' " +
			`-pidfile "$PWD/bin/exercises/08-pidfile.pid" -- bin/exercises/08-pidfile -pidfile "$PWD/bin/exercises/08-pidfile.pid"`},
		{[]string{"--dry-run", "exercise5"}, 0, "exercise 5 is not solved yet: mend exercises/05-signals/daemon.go"},
	} {
		out, err := exec.Command("make", append([]string{"--no-print-directory"}, c.args...)...).CombinedOutput()
		status := 0
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			status = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if status != c.status || !strings.Contains(string(out), c.want) {
			t.Errorf("make %q: status %d, and not %d with %q:\n%s", c.args, status, c.status, c.want, out)
		}
	}
}
