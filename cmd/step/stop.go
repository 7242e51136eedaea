//go:build linux

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// grace is how long a daemon may take to end.
const grace = 5 * time.Second

// stop ends every daemon that is on record, and removes what it left behind.
// It goes on after an error, and returns all of them.
func stop() error {
	s, err := openStore(storePath(), false)
	if errors.Is(err, fs.ErrNotExist) {
		return say("nothing to stop\n")
	}
	if err != nil {
		return err
	}
	defer s.close()
	entries, err := s.entries()
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return say("nothing to stop\n")
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Compare(a.Start, b.Start) // the oldest first
	})
	var errs []error
	for _, e := range entries {
		line, err := e.stop(grace)
		if err == nil {
			err = say(line + "\n")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// stop ends what was started, removes what is left of it, and returns a line
// that says what was seen. The daemon has grace to end. We are not the daemon's parent, so its exit status
// is not among that.
func (e entry) stop(grace time.Duration) (string, error) {
	who, how := fmt.Sprintf("step %d, pid %d", e.Step, e.PID), ""
	var err error
	if e.PID == 0 {
		who, how = fmt.Sprintf("step %d", e.Step), "the start was cut short"
	} else if how, err = e.end(grace); err != nil {
		return "", fmt.Errorf("%s: %w", who, err)
	}

	// What the daemon started in its turn is left behind too.
	heirs := heirsOf(e.dir)
	for _, p := range heirs {
		err = errors.Join(err, p.kill())
		p.release()
	}
	dirs, files := count(e)
	if err == nil {
		err = e.remove()
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", who, err)
	}

	left := listing(len(heirs), dirs, files)
	if left == "" {
		return fmt.Sprintf("%s: %s, nothing left behind", who, how), nil
	}
	line := fmt.Sprintf("%s: %s, left behind: %s", who, how, left)
	if e.Step < cleanStep {
		line += fmt.Sprintf(" (step %d cleans up)", cleanStep)
	}
	return line, nil
}

// listing returns a list such as "1 directory, 2 files", and "" for nothing.
func listing(processes, dirs, files int) string {
	var list []string
	for _, kind := range []struct {
		n         int
		one, many string
	}{
		{processes, "process", "processes"},
		{dirs, "directory", "directories"},
		{files, "file", "files"},
	} {
		switch {
		case kind.n == 1:
			list = append(list, "1 "+kind.one)
		case kind.n > 1:
			list = append(list, fmt.Sprint(kind.n, " ", kind.many))
		}
	}
	return strings.Join(list, ", ")
}

// end ends the daemon with SIGTERM, or with SIGKILL if that has not done it
// within grace, and says how.
func (e entry) end(grace time.Duration) (how string, err error) {
	const before = "had ended already"
	p, err := hold(e.PID)
	if errors.Is(err, proc.ErrGone) {
		return before, nil
	}
	if err != nil {
		return "", err
	}
	defer p.release()
	if p.start != e.Start {
		return before, nil // Another process has its number now.
	}
	if ended, err := p.wait(0); ended || err != nil {
		return before, err
	}
	// A stopped process takes SIGTERM only when it goes on.
	if err := errors.Join(p.signal(unix.SIGTERM), p.signal(unix.SIGCONT)); err != nil {
		return "", err
	}
	ended, err := p.wait(grace)
	if ended || err != nil {
		return "ended", err
	}
	return fmt.Sprintf("did not end in %v, killed", grace), p.kill()
}

// count counts what is left in the TMPDIR, at any depth, apart from what we gave.
func count(e entry) (dirs, files int) {
	filepath.WalkDir(e.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case path == e.dir:
		case path == e.files():
			return filepath.SkipDir
		case d.IsDir() && err == nil:
			dirs++
		case err == nil:
			files++
		}
		return nil
	})
	return dirs, files
}
