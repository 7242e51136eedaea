//go:build linux

package daemonsteps

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"daemonsteps/internal/lab"
)

// TestReplay types the commands of every document, on a terminal, and compares what
// comes out with what the document shows. docs/README.md tells readers the rules.
func TestReplay(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"ps", "make"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the documents' commands need %s(1), which is not installed", tool)
		}
	}
	for _, path := range documents(t) {
		blocks := slices.DeleteFunc(readDoc(t, path).blocks, func(b block) bool { return b.kind != "console" })
		if len(blocks) == 0 {
			continue
		}
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			r := newReplay(t)
			for _, b := range blocks {
				if err := r.block(b.text); err != nil {
					t.Fatalf("%s:%d: %v", path, b.line, err)
				}
			}
			if err := r.prompt(); err != nil {
				t.Fatalf("%s: after the last block: %v", path, err)
			}
		})
	}
}

// TestReplayBites holds that a document that has drifted fails.
func TestReplayBites(t *testing.T) {
	t.Parallel()
	r := newReplay(t)
	for _, c := range []struct{ name, text, want string }{
		{"right", "$ echo one; echo two\none\ntwo\n", ""},
		{"other output", "$ echo one\nuno\n", `shows "uno", and the terminal "one"`},
		{"line missing", "$ echo one; echo two\none\n", `shows a prompt, and the terminal "two"`},
		{"line too much", "$ echo one\none\ntwo\n", `shows "two", and the terminal a prompt`},
		{"numbers are bound", "$ echo 4711 4711\n1234 1234\n", ""},
		{"to one thing each", "$ echo 4711 4712\n1234 1234\n", `shows "1234 1234"`},
		{"and to different things", "$ echo 4711 4711\n1234 5678\n", `shows "1234 5678"`},
		{"in commands, too", "$ echo 4711\n1234\n$ test 1234 = 4711 && echo same\nsame\n", ""},
		{"short numbers are themselves", "$ echo 12\n13\n", `shows "13"`},
		{"modes are themselves", "$ echo 0022\n0077\n", `shows "0077"`},
		{"dots stand for anything", "$ echo one two three\none … three\n", ""},
		{"in one line", "$ echo one; echo three\none … three\n", `shows "one … three"`},
		{"dots alone for any lines", "$ echo one; echo two; echo three\n…\nthree\n", ""},
		{"who sleeps may run", "$ echo 'Rsl x'; echo x SN\nSsl x\nx S\n", ""},
		{"but not lead a session", "$ echo Ssl x\nSl x\n", `shows "Sl x"`},
		{"or be a zombie", "$ echo Z x\nS x\n", `shows "S x"`},
		{"white space is one space", "$ echo 'one    two'\none two\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.is = map[string]string{}
			err := r.block(c.text)
			if err == nil {
				err = r.prompt()
			}
			// The next one finds a prompt, and nothing of this one before it.
			if err := r.session.Type("echo do''ne\n"); err != nil {
				t.Fatal(err)
			}
			text, werr := r.session.WaitScreen(r.at, `done\n\$ $`, deadline)
			if werr != nil {
				t.Fatal(werr)
			}
			r.at = strings.LastIndex(text, "$ ")
			switch {
			case c.want == "" && err != nil:
				t.Errorf("%q: %v", c.text, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%q: %v, and not %s", c.text, err, c.want)
			}
		})
	}
}

// A replay is a shell on a terminal, and what has come out of it.
type replay struct {
	lab     *lab.Lab
	session *lab.Session
	at      int               // how much of the screen has been compared
	is      map[string]string // what a number in the document stands for
	ticks   string            // lines that daemons wrote in between
}

func newReplay(t *testing.T) *replay {
	dir := checkout(t) // First, since it goes last: what runs in it may write until it is ended.
	l, err := lab.New(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	sh, err := exec.LookPath("dash") // Others decorate the line that they read.
	if err != nil {
		if sh, err = exec.LookPath("sh"); err != nil {
			t.Fatal(err)
		}
	}
	s, err := l.Start(lab.Command{Way: lab.Direct, Args: []string{sh, "-i"}, Dir: dir, Env: map[string]string{
		"PS1": "$ ", "PS2": "> ", "ENV": "", "TERM": "dumb", "XDG_RUNTIME_DIR": "",
		// So that a package compiled in one checkout serves for another.
		"GOFLAGS": "-trimpath -buildvcs=false", "CGO_ENABLED": "0",
	}})
	if err != nil {
		t.Fatal(err)
	}
	// A root's prompt may not be "$ " yet. What stands before the mark is not compared.
	if err := s.Type("PS1='$ '; echo mar''k\n"); err != nil {
		t.Fatal(err)
	}
	text, err := s.WaitScreen(0, `mark\n\$ $`, deadline)
	if err != nil {
		t.Fatal(err)
	}
	return &replay{lab: l, session: s, at: strings.LastIndex(text, "$ "), is: map[string]string{}}
}

// tick is what a daemon of the first steps writes onto the terminal at any time.
var tick = regexp.MustCompile(`daemon \d+: tick \d+\n`)

// next returns what follows on the screen: a whole line, or the prompt.
func (r *replay) next() (string, error) {
	for {
		text, err := r.session.WaitScreen(r.at, `^(\$ |[^\n]*\n)`, deadline)
		if err != nil {
			return "", err
		}
		rest := text[r.at:]
		if m := tick.FindStringIndex(rest); m != nil && (m[0] == 0 || rest[:m[0]] == "$ ") {
			// The daemon's line is kept apart, and the prompt before it stays.
			r.ticks += rest[m[0]:m[1]]
			if m[0] == 0 {
				r.at += m[1]
				continue
			}
			r.at += m[1] // The prompt is there, and will not be shown again.
			return "$ ", nil
		}
		if line, _, ok := strings.Cut(rest, "\n"); ok && !strings.HasPrefix(rest, "$ ") {
			return line + "\n", nil
		}
		return "$ ", nil
	}
}

// prompt compares with nothing but the prompt.
func (r *replay) prompt() error {
	text, err := r.next()
	if err == nil && text != "$ " {
		err = fmt.Errorf("the document shows a prompt, and the terminal %q", strings.TrimSuffix(text, "\n"))
	}
	return err
}

// block replays one block of a document.
func (r *replay) block(text string) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		shown := strings.TrimPrefix(line, "$ ")
		var err error
		switch {
		case tick.MatchString(shown + "\n"):
			err = r.waitTick(shown)
		case strings.TrimRight(line, " ") == "$":
			err = r.prompt()
		case line == "^C":
			err = r.typed("\x03", "^C")
		case strings.HasPrefix(line, "$ "):
			if err = r.prompt(); err == nil && strings.Contains(shown, "/proc/") {
				_, err = r.lab.Rest(deadline) // Within its start a daemon opens and closes files.
			}
			if err == nil {
				command := number.ReplaceAllStringFunc(shown, func(n string) string {
					if is, ok := r.is[n]; ok {
						return is
					}
					return n
				})
				err = r.typed(command+"\n", command)
			}
		case line == "…":
			err = r.skipTo(lines[i+1:])
		default:
			err = r.line(line)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// typed types, and waits for the echo.
func (r *replay) typed(keys, echo string) error {
	if err := r.session.Type(keys); err != nil {
		return err
	}
	for {
		text, err := r.session.WaitScreen(r.at, `\n`, deadline)
		if err != nil {
			return err
		}
		line, _, _ := strings.Cut(text[r.at:], "\n")
		r.at += len(line) + 1
		if tick.MatchString(strings.TrimPrefix(line, "$ ") + "\n") {
			r.ticks += strings.TrimPrefix(line, "$ ") + "\n"
			continue
		}
		if line = strings.TrimPrefix(line, "$ "); line != echo {
			return fmt.Errorf("typed %q, and the terminal shows %q", echo, line)
		}
		return nil
	}
}

// line compares one line of output.
func (r *replay) line(want string) error {
	got, err := r.next()
	if err != nil {
		return err
	}
	if got == "$ " {
		return fmt.Errorf("the document shows %q, and the terminal a prompt", want)
	}
	if !r.match(want, strings.TrimSuffix(got, "\n")) {
		return fmt.Errorf("the document shows %q, and the terminal %q", want, strings.TrimSuffix(got, "\n"))
	}
	r.at += len(got)
	return nil
}

// skipTo passes over lines, up to the one that the document shows next, or up to the
// prompt.
func (r *replay) skipTo(after []string) error {
	for {
		got, err := r.next()
		if err != nil || got == "$ " {
			return err
		}
		if len(after) > 0 && r.match(after[0], strings.TrimSuffix(got, "\n")) {
			return nil
		}
		r.at += len(got)
	}
}

// waitTick waits for a line that a daemon writes.
func (r *replay) waitTick(want string) error {
	for {
		for line := range strings.Lines(r.ticks) {
			if r.match(want, strings.TrimSuffix(line, "\n")) {
				return nil
			}
		}
		text, err := r.session.WaitScreen(r.at, tick.String(), deadline)
		if err != nil {
			return err
		}
		m := tick.FindStringIndex(text[r.at:])
		if before := text[r.at : r.at+m[0]]; before != "" && before != "$ " {
			return fmt.Errorf("the document shows %q, and the terminal %q", want, before)
		}
		r.ticks += text[r.at+m[0] : r.at+m[1]]
		r.at += m[1]
	}
}

var (
	// number is what stands for a pid in a document, or in the name of a file.
	number = regexp.MustCompile(`\b[1-9]\d{3,}\b`)
	spaces = regexp.MustCompile(`[ \t]+`)
	// state is what ps(1) shows of a process that runs, sleeps, or waits for a disk,
	// nice or not.
	state = regexp.MustCompile(`(^| )[RSD][<N]?(s?l?\+?)( |$)`)
)

// alike brings a line into the form in which it is compared.
func alike(line string) string {
	line = strings.TrimSpace(spaces.ReplaceAllString(line, " "))
	return state.ReplaceAllString(line, "${1}S${2}${3}")
}

// match compares a line of a document with one of the terminal. A number of four
// digits or more stands for any number, but for the same one everywhere, and another
// one for another. "…" stands for anything. White space is white space.
func (r *replay) match(want, got string) bool {
	want, got = alike(want), alike(got)
	var pattern strings.Builder
	var names []string
	rest := want
	for rest != "" {
		n, dots := number.FindStringIndex(rest), strings.Index(rest, "…")
		switch {
		case n == nil && dots < 0:
			pattern.WriteString(regexp.QuoteMeta(rest))
			rest = ""
		case n == nil || dots >= 0 && dots < n[0]:
			pattern.WriteString(regexp.QuoteMeta(rest[:dots]) + `.*`)
			rest = rest[dots+len("…"):]
		default:
			pattern.WriteString(regexp.QuoteMeta(rest[:n[0]]) + `(\d+)`)
			names = append(names, rest[n[0]:n[1]])
			rest = rest[n[1]:]
		}
	}
	m := regexp.MustCompile(`^` + pattern.String() + `$`).FindStringSubmatch(got)
	if m == nil {
		return false
	}
	bound := map[string]string{}
	taken := map[string]string{}
	for name, is := range r.is {
		bound[name], taken[is] = is, name
	}
	for i, name := range names {
		is := m[i+1]
		if was, ok := bound[name]; ok && was != is {
			return false
		}
		if other, ok := taken[is]; ok && other != name {
			return false
		}
		bound[name], taken[is] = is, name
	}
	r.is = bound
	return true
}

// checkout returns a copy of this repository, with everything built: a document's
// commands run there, and leave nothing here.
func checkout(t *testing.T) string {
	t.Helper()
	master, err := masterCheckout()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: a socket's path has room for 107 bytes (unix(7)).
	short, err := os.MkdirTemp("", "r-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(short); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(short, "daemonsteps")
	if err := copyTree(master, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// masterCheckout is the copy that the others are copied from, with bin/ built.
var masterCheckout = sync.OnceValues(func() (string, error) {
	var sources []string
	for _, dir := range []string{"steps", "cmd", "internal", "exercises"} {
		err := filepath.WalkDir(filepath.Join(repo(), dir), func(path string, d fs.DirEntry, err error) error {
			if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				sources = append(sources, path)
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	sources = append(sources, filepath.Join(repo(), "go.mod"), filepath.Join(repo(), "go.sum"))
	bin, err := kept("bin", sources, func(bin, _ string) error {
		if err := goBuild(repo(), "-trimpath", "-o", bin+"/", "./steps/...", "./cmd/..."); err != nil {
			return err
		}
		return goBuild(repo(), "-trimpath", "-o", filepath.Join(bin, "exercises")+"/", "./exercises/...")
	})
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "checkout-")
	if err != nil {
		return "", err
	}
	built = append(built, dir)
	if err := copyTree(repo(), dir); err != nil {
		return "", err
	}
	return dir, os.CopyFS(filepath.Join(dir, "bin"), os.DirFS(bin))
})

// copyTree copies a checkout, without what git and make keep in it for themselves.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if rel == ".git" && !d.IsDir() { // A worktree has a file of this name.
			return nil
		}
		if rel == ".git" || rel == "bin" && from == repo() {
			return filepath.SkipDir
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if strings.HasPrefix(rel, "bin/") { // A copy would be as good, and slower.
			return os.Link(path, target)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, info.Mode().Perm())
	})
}
