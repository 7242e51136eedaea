//go:build linux

package keep

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TMPDIR stays if it is set, and else is a directory from which programs can be started.
func TestInMemory(t *testing.T) {
	t.Setenv("TMPDIR", "/nonexistent")
	InMemory()
	if got := os.Getenv("TMPDIR"); got != "/nonexistent" {
		t.Errorf("TMPDIR is %s now", got)
	}
	os.Setenv("TMPDIR", "")
	InMemory()
	dir, err := os.MkdirTemp("", "keep-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command(script).Run(); err != nil {
		t.Errorf("with TMPDIR=%s: %v", os.Getenv("TMPDIR"), err)
	}
}
