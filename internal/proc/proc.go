//go:build linux

// Package proc reads one process as the kernel shows it in /proc.
//
// The names are those of proc(5) and the pages it leads to:
// proc_pid_stat(5), proc_pid_status(5), proc_pid_fd(5), proc_pid_fdinfo(5).
//
// Reading /proc is not one step. The process runs on between two files, so a
// Process is a row of short looks and not one picture.
package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// root is where procfs is mounted. The tests put a directory of their own here.
var root = "/proc"

// ErrGone says that the process has ended and its parent has waited for it, or
// that it never was. Its number may already belong to another process.
var ErrGone = errors.New("process is gone")

// Process is one process as the kernel shows it in /proc/PID.
//
// Within execve(2) it has neither arguments nor variables for a moment. In that moment
// os.StartProcess may have returned: it waits for a pipe that execve closes, and that
// comes first.
type Process struct {
	Stat

	Cmdline []string `json:"cmdline"`
	Exe     string   `json:"exe"`
	Cwd     string   `json:"cwd"`
	Root    string   `json:"root"`
	Umask   Mode     `json:"umask"`
	FDs     []FD     `json:"fds"` // sorted by number
	UIDs    IDs      `json:"uids"`
	GIDs    IDs      `json:"gids"`
	Groups  []int    `json:"groups"` // supplementary groups
	Caps    Caps     `json:"caps"`
	Environ []string `json:"environ"` // the names of its variables, as it was given them

	EnvironOver bool `json:"environ_over"` // It has written over what it was given.

	NoNewPrivs bool     `json:"no_new_privs"`
	Uneven     []string `json:"uneven"`  // what of these its threads do not have in common
	Blocked    []string `json:"blocked"` // by all threads: no thread can take these
	Ignored    []string `json:"ignored"`
	Caught     []string `json:"caught"`

	Children []int `json:"children"`
}

// IDs are the four user or group IDs of a process, see credentials(7).
type IDs struct {
	Real      int `json:"real"`
	Effective int `json:"effective"`
	Saved     int `json:"saved"`
	FS        int `json:"fs"`
}

// Caps are the capability sets of a process's main thread, see capabilities(7). All
// but Bounding have to be empty for a process with no more rights than its user.
type Caps struct {
	Inheritable uint64 `json:"inheritable"`
	Permitted   uint64 `json:"permitted"`
	Effective   uint64 `json:"effective"`
	Bounding    uint64 `json:"bounding"`
	Ambient     uint64 `json:"ambient"`
}

// Mode is a set of permission bits, written as octal digits such as "0022".
type Mode uint32

// String returns at least four octal digits.
func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText returns the digits of String.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads octal digits.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil {
		return fmt.Errorf("parse mode: %w", err)
	}
	*m = Mode(n)
	return nil
}

// Read returns the process pid. It returns what it could read, also together
// with an error. The Process is never nil, nor is any slice in it.
//
// The error is ErrGone when the process ended before the reading did, or when
// another process has taken its number meanwhile.
//
// A file that may not be read leaves its fields empty, and the reading goes on.
// Such errors are joined, and each names its file.
//
// Some files are missing for a good reason, and that is no error. A zombie
// (State "Z"), and a process on its way to become one, has given back its cwd,
// root, exe, umask and file descriptors. Some kernels
// answer an ordinary user "permission denied" for these, even when the process
// was the user's own. A kernel thread never had an exe.
func Read(pid int) (*Process, error) {
	p := &Process{
		Stat:    Stat{PID: pid},
		Cmdline: []string{},
		FDs:     []FD{},
		Groups:  []int{},
		Environ: []string{},
		Uneven:  []string{},
		Blocked: []string{}, Ignored: []string{}, Caught: []string{},
		Children: []int{},
	}
	// Everyone may read stat. Who cannot read it cannot read the rest either.
	first, err := ReadStat(pid)
	if err != nil {
		return p, err
	}

	errs := []error{p.readStatus(), p.readCmdline(), p.readEnviron(), p.readThreads()}
	p.Exe, err = os.Readlink(pidPath(pid, "exe"))
	errs = append(errs, err)
	p.Cwd, err = os.Readlink(pidPath(pid, "cwd"))
	errs = append(errs, err)
	p.Root, err = os.Readlink(pidPath(pid, "root"))
	errs = append(errs, err)
	p.FDs, err = readFDs(pid)
	errs = append(errs, err)
	p.Children, err = children(pid)
	errs = append(errs, err)

	// Only now do we know whose files these were. A second look at stat tells
	// a process that is gone from one that has less to show.
	last, err := ReadStat(pid)
	if err != nil {
		return p, err
	}
	p.Stat = last
	if last.Start != first.Start {
		return p, fmt.Errorf("pid %d: %w: %s: start time was %d and is now %d",
			pid, ErrGone, pidPath(pid, "stat"), first.Start, last.Start)
	}
	if last.ending() || last.kernelThread() {
		errs = slices.DeleteFunc(errs, missing)
	}
	if last.ending() {
		errs = slices.DeleteFunc(errs, notAllowed)
	}
	return p, errors.Join(errs...)
}

// rights are the lines of the status file that say what a process may do.
var rights = []string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs"}

// readThreads reads what each thread has for itself. /proc/PID/status shows the main
// thread alone.
//
// A signal for the process goes to any thread that does not block it (signal(7)). In a
// Go program the main thread may be the one that os/signal keeps for itself, and it blocks
// nearly everything. And to Linux each thread has rights of its own (credentials(7),
// capabilities(7)).
func (p *Process) readThreads() error {
	var blocked uint64
	var first map[string]string
	begin := func() { blocked, first, p.Uneven = ^uint64(0), nil, []string{} }
	err := eachThread(p.PID, begin, func(_ int, text []byte) error {
		t, err := parseThread(text)
		blocked &= t.Blocked
		lines := statusLines(text)
		if first == nil {
			first = lines
		}
		for _, key := range rights {
			if lines[key] != first[key] && !slices.Contains(p.Uneven, key) {
				p.Uneven = append(p.Uneven, key)
			}
		}
		return err
	})
	if err == nil {
		p.Blocked = SignalNames(blocked)
	}
	return err
}

func (p *Process) readCmdline() error {
	text, err := readFile(pidPath(p.PID, "cmdline"), nil)
	if err != nil {
		return err
	}
	// Every argument ends in a NUL byte. A zombie and a kernel thread have none.
	if len(text) > 0 {
		p.Cmdline = strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	}
	return nil
}

// readEnviron reads the names of the variables that the process was started with,
// sorted. What it sets later is not seen (proc_pid_environ(5)), unless it writes the title
// there that ps(1) is to show.
func (p *Process) readEnviron() error {
	text, err := readFile(pidPath(p.PID, "environ"), nil)
	if err != nil {
		return err
	}
	p.EnvironOver = len(text) > 0 && strings.Trim(string(text), "\x00") == ""
	for entry := range strings.SplitSeq(string(text), "\x00") {
		name, _, ok := strings.Cut(entry, "=")
		if ok {
			p.Environ = append(p.Environ, name)
		}
		p.EnvironOver = p.EnvironOver || !ok && entry != ""
	}
	slices.Sort(p.Environ)
	return nil
}

// pidPath returns the path of a file of the process pid.
func pidPath(pid int, names ...string) string {
	return filepath.Join(root, strconv.Itoa(pid), filepath.Join(names...))
}

// gone reports whether err is what /proc answers for a process or a thread that
// is no more: ENOENT when a file is opened, ESRCH when an open one is read.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// missing reports whether err says that a file or a line is not there.
func missing(err error) bool {
	return gone(err) || errors.Is(err, errNoLine)
}

func notAllowed(err error) bool { return errors.Is(err, fs.ErrPermission) }

// goneError makes an ErrGone of an error that says so, and keeps any other.
func goneError(pid int, err error) error {
	if gone(err) {
		return fmt.Errorf("pid %d: %w: %w", pid, ErrGone, err)
	}
	return err
}
