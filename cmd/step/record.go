//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// store is the directory that remembers what was started. While a store is
// open, its directory is locked (flock(2)): starts and stops take turns.
//
// Each start has two names in it. A directory such as 03-4711 is the TMPDIR of
// what was started, and the file 03-4711.json is its record. A file such as 08.pid is
// the PID file of all starts of step 8.
type store struct {
	path string
	dir  *os.File
}

// entry is one start in a store.
type entry struct {
	dir string // the TMPDIR
	record
}

// record says which process was started. PID is 0 if the start was killed
// before it could say that.
type record struct {
	Step  int    `json:"step"`
	PID   int    `json:"pid"`
	Start uint64 `json:"start_time"`
}

// storePath returns $XDG_RUNTIME_DIR/daemonsteps-UID, or the same in $TMPDIR or
// /tmp if there is no such directory of our own, as after su(1).
func storePath() string {
	parent := os.Getenv("XDG_RUNTIME_DIR")
	var st unix.Stat_t
	if !filepath.IsAbs(parent) || unix.Stat(parent, &st) != nil || int(st.Uid) != os.Geteuid() {
		parent = os.TempDir()
	}
	return filepath.Join(parent, "daemonsteps-"+strconv.Itoa(os.Geteuid()))
}

// openStore opens and locks the store at path, and makes it first if create is
// true. If create is false and there is none, the error is fs.ErrNotExist.
//
// Others may write to /tmp too. So the directory must be ours alone: no symbolic
// link, of our user, mode 0700.
func openStore(path string, create bool) (*store, error) {
	path, err := filepath.Abs(path) // The steps get it as TMPDIR, and change directory.
	if err != nil {
		return nil, fmt.Errorf("find the state directory: %w", err)
	}
	for {
		if create {
			if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, fmt.Errorf("make the state directory: %w", err)
			}
		}
		dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if create && errors.Is(err, fs.ErrNotExist) {
			continue // A stop has just removed it.
		}
		if err != nil {
			return nil, fmt.Errorf("open the state directory: %w", err)
		}
		current, err := lock(dir, path)
		if err != nil {
			dir.Close()
			return nil, err
		}
		if current {
			return &store{path, dir}, nil
		}
		// Whoever held the lock before us has removed the directory.
		dir.Close()
	}
}

// lock checks that dir is ours alone, waits for its lock, and reports whether it
// is still what path leads to.
func lock(dir *os.File, path string) (current bool, err error) {
	var st, now unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return false, fmt.Errorf("stat the state directory %s: %w", path, err)
	}
	if int(st.Uid) != os.Geteuid() {
		return false, fmt.Errorf("state directory %s: its owner is uid %d, not we, uid %d",
			path, st.Uid, os.Geteuid())
	}
	if mode := st.Mode & 0o7777; mode != 0o700 {
		return false, fmt.Errorf("state directory %s: its mode is %04o, not 0700", path, mode)
	}
	for {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return false, fmt.Errorf("lock the state directory %s: %w", path, err)
	}
	err = unix.Lstat(path, &now)
	return err == nil && now.Dev == st.Dev && now.Ino == st.Ino, nil
}

// close unlocks the store, and removes it if it is empty. A daemon that was killed
// leaves its PID file, and nobody holds that.
func (s *store) close() {
	files, _ := filepath.Glob(filepath.Join(s.path, "*.pid"))
	for _, file := range files {
		if holder(file) == 0 {
			os.Remove(file)
		}
	}
	os.Remove(s.path) // Refused if it is not empty.
	s.dir.Close()
}

// add makes room for one start: its TMPDIR and its record, which has no PID yet.
func (s *store) add(step step) (entry, error) {
	dir, err := os.MkdirTemp(s.path, step.name[:2]+"-")
	if err != nil {
		return entry{}, fmt.Errorf("make the step's TMPDIR: %w", err)
	}
	e := entry{dir, record{Step: step.number()}}
	err = e.write(os.O_CREATE | os.O_EXCL)
	if err == nil && len(step.arguments(e)) > 0 {
		err = os.Mkdir(e.files(), 0o700)
		if err == nil {
			err = os.WriteFile(filepath.Join(e.files(), "conf"), []byte(conf), 0o600)
		}
	}
	if err != nil {
		return entry{}, errors.Join(err, e.remove())
	}
	return e, nil
}

// entries returns all starts in the store.
func (s *store) entries() ([]entry, error) {
	var all []entry
	list, err := os.ReadDir(s.path)
	if err != nil {
		return nil, fmt.Errorf("read the state directory: %w", err)
	}
	for _, d := range list {
		if !d.IsDir() {
			continue
		}
		e := entry{dir: filepath.Join(s.path, d.Name())}
		// A record that is missing or cut short is that of a start that was
		// killed. Its PID stays 0, and the name still tells the step.
		text, err := os.ReadFile(e.file())
		if err == nil {
			err = json.Unmarshal(text, &e.record)
		}
		if err != nil {
			e.record = record{}
			fmt.Sscanf(d.Name(), "%d-", &e.Step)
		}
		all = append(all, e)
	}
	return all, nil
}

func (e entry) file() string { return e.dir + ".json" }

// files is the directory of what we give to the step.
func (e entry) files() string { return filepath.Join(e.dir, "files") }

// pidFile is the PID file of the step, which all its starts share.
func (e entry) pidFile() string {
	return filepath.Join(filepath.Dir(e.dir), fmt.Sprintf("%02d.pid", e.Step))
}

// write writes the record.
func (e entry) write(flags int) error {
	text, err := json.Marshal(e.record)
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	f, err := os.OpenFile(e.file(), os.O_WRONLY|os.O_TRUNC|flags, 0o600)
	if err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the record: %w", err)
	}
	return nil
}

// remove removes the TMPDIR with all that is in it, and then the record.
func (e entry) remove() error {
	if err := os.RemoveAll(e.dir); err != nil {
		return fmt.Errorf("remove the step's TMPDIR: %w", err)
	}
	if err := os.Remove(e.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the record: %w", err)
	}
	return nil
}
