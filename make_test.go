//go:build linux

package daemonsteps

import (
	"os/exec"
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
