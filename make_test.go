//go:build linux

package daemonsteps

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMake holds what the Makefile answers before it builds anything.
func TestMake(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("make"); err != nil {
		t.Skip("make(1) is not installed")
	}
	all := strings.Join(steps(), " ")
	for _, c := range []struct {
		args   []string
		status int
		want   string // a pattern
	}{
		{nil, 0, `(?s)stepN +start step N.*stop +end what.*testN .*diffN .*carryN .*check .*test .*lint .*stress .*bench `},
		{[]string{"step99"}, 2, `no step "99"; the steps are ` + all},
		{[]string{"test0"}, 2, `no step "0"; the steps are ` + all},
		{[]string{"diff77"}, 2, `no step "77"; the steps are ` + all},
		{[]string{"check"}, 2, `check needs PROG, and may have STEP: make check PROG="./my-daemon -x" STEP=3`},
		{[]string{"check", "PROG=true", "STEP=99"}, 2, `no step "99"; the steps are ` + all},
		{[]string{"diff2"}, 0, `(?s)steps/02-setsid/launch.go.*\n\+\tchild.SysProcAttr = &syscall.SysProcAttr{Setsid: true}\n`},
	} {
		out, err := exec.Command("make", append([]string{"--no-print-directory"}, c.args...)...).CombinedOutput()
		status := 0
		if e, ok := err.(*exec.ExitError); ok {
			status = e.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if status != c.status || !regexp.MustCompile(c.want).Match(out) {
			t.Errorf("make %q: status %d, and not %d with %q:\n%s", c.args, status, c.status, c.want, out)
		}
	}
}

// TestCarry carries changes of early steps to the later ones, in a checkout of its own.
func TestCarry(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"make", "git"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s(1) is not installed", program)
		}
	}
	for _, c := range []struct {
		name, step string
		file       string // what is changed
		old, new   string // in it
		renamed    string // its new name, or ""
		carried    string // the later steps that have it afterwards
		refused    string // those that have git's marks of a conflict
	}{
		{"a line", "3", "descriptors.go", "closeInherited sees to it that", "closeInherited has it that", "", "04 05 06 07 08 09 10 11", ""},
		{"a name", "5", "defaults_other.go", "", "", "default_other.go", "06 07 08 09 10 11", ""},
		{"a conflict", "5", "launch.go", "err := sayPID(child", "err := tellPID(child", "", "06 07", "08 09 10 11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			run := func(name string, args ...string) (string, error) {
				cmd := exec.Command(name, args...)
				cmd.Dir = dir
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			text, err := os.ReadFile("Makefile")
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, "Makefile"), text, 0o666)
			}
			if err == nil {
				err = os.CopyFS(filepath.Join(dir, "steps"), os.DirFS("steps"))
			}
			for _, args := range [][]string{{"init", "-q"}, {"add", "."},
				{"-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-q", "-m", "t"}} {
				if err == nil {
					_, err = run("git", args...)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			at := func(step, file string) string {
				found, _ := filepath.Glob(filepath.Join(dir, "steps", step+"-*", file))
				return strings.Join(found, " ")
			}
			path := at("0"+c.step, c.file)
			text, err = os.ReadFile(path)
			if err != nil || bytes.Count(text, []byte(c.old)) != 1 && c.renamed == "" {
				t.Fatalf("%s has not %q once: %v", path, c.old, err)
			}
			if c.renamed != "" {
				err = os.Rename(path, filepath.Join(filepath.Dir(path), c.renamed))
			} else {
				err = os.WriteFile(path, bytes.Replace(text, []byte(c.old), []byte(c.new), 1), 0o666)
			}
			if err != nil {
				t.Fatal(err)
			}

			out, err := run("make", "carry"+c.step)
			if (err != nil) != (c.refused != "") {
				t.Errorf("make carry%s: %v\n%s", c.step, err, out)
			}
			var carried, refused []string
			for _, step := range steps() {
				number := step[:2]
				text, _ := os.ReadFile(at(number, c.file))
				switch {
				case number <= "0"+c.step:
				case bytes.Contains(text, []byte("<<<<<<<")):
					refused = append(refused, number)
				case c.renamed != "" && at(number, c.renamed) != "" && at(number, c.file) == "",
					c.renamed == "" && bytes.Contains(text, []byte(c.new)) && !bytes.Contains(text, []byte(c.old)):
					carried = append(carried, number)
				case c.renamed != "" && at(number, c.renamed) != "":
					t.Errorf("step %s has both names", number)
				}
			}
			if strings.Join(carried, " ") != c.carried || strings.Join(refused, " ") != c.refused {
				t.Errorf("carried to %q and refused by %q, not %q and %q:\n%s", carried, refused, c.carried, c.refused, out)
			}
		})
	}
}
