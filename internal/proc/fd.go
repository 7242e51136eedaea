//go:build linux

package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// FD is one open file descriptor.
type FD struct {
	FD     int
	Target string // what the link /proc/PID/fd/N says, such as "/dev/null" or "pipe:[91]"
	Kind   string // "file", "dir", "char", "block", "pipe", "socket", "symlink" or "anon"

	// Dev and Ino name the inode of the open file. Two descriptors with the
	// same pair lead to the same file, also when it has no name any more.
	Dev, Ino uint64

	Flags int // as open(2) takes them, with O_CLOEXEC

	// Signals holds what a signalfd takes (signalfd(2)). Bit 0 stands for signal 1.
	Signals uint64
}

// CloseOnExec reports whether execve(2) closes the descriptor.
func (f FD) CloseOnExec() bool { return f.Flags&unix.O_CLOEXEC != 0 }

// Readable reports whether read(2) is allowed on the descriptor.
func (f FD) Readable() bool { return strings.Contains(f.access(), "r") }

// Writable reports whether write(2) is allowed on the descriptor.
func (f FD) Writable() bool { return strings.Contains(f.access(), "w") }

// access returns "r", "w" or "rw". It returns "path" for O_PATH, which only
// names a file, and "" for the unused fourth access mode.
func (f FD) access() string {
	if f.Flags&unix.O_PATH != 0 {
		return "path"
	}
	return [...]string{unix.O_RDONLY: "r", unix.O_WRONLY: "w", unix.O_RDWR: "rw", 3: ""}[f.Flags&unix.O_ACCMODE]
}

// fdJSON is how an FD is written: the flags as the two things they tell.
type fdJSON struct {
	FD      int    `json:"fd"`
	Target  string `json:"target"`
	Type    string `json:"type"`
	Access  string `json:"access"`
	CloExec bool   `json:"cloexec"`
	Dev     uint64 `json:"dev"`
	Ino     uint64 `json:"ino"`
	Signals uint64 `json:"signals,omitempty"`
}

// MarshalJSON writes "access" and "cloexec" in place of the flags.
func (f FD) MarshalJSON() ([]byte, error) {
	return json.Marshal(fdJSON{f.FD, f.Target, f.Kind, f.access(), f.CloseOnExec(), f.Dev, f.Ino, f.Signals})
}

// UnmarshalJSON reads what MarshalJSON wrote. Flags holds then only what
// "access" and "cloexec" tell.
func (f *FD) UnmarshalJSON(text []byte) error {
	var j fdJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	flags, ok := map[string]int{
		"r": unix.O_RDONLY, "w": unix.O_WRONLY, "rw": unix.O_RDWR, "path": unix.O_PATH, "": 3,
	}[j.Access]
	if !ok {
		return fmt.Errorf("parse file descriptor %d: unknown access %q", j.FD, j.Access)
	}
	if j.CloExec {
		flags |= unix.O_CLOEXEC
	}
	*f = FD{FD: j.FD, Target: j.Target, Kind: j.Type, Dev: j.Dev, Ino: j.Ino, Flags: flags, Signals: j.Signals}
	return nil
}

// readFDs returns the open descriptors. One that is closed meanwhile is left
// out. So is one that may not be read, and the error names it.
func readFDs(pid int) ([]FD, error) {
	fds := []FD{}
	numbers, err := numbersIn(pidPath(pid, "fd"))
	if err != nil {
		return fds, err
	}
	var errs []error
	for _, n := range numbers {
		fd, err := readFD(pid, n)
		switch {
		case err == nil:
			fds = append(fds, fd)
		case !gone(err):
			errs = append(errs, err)
		}
	}
	return fds, errors.Join(errs...)
}

func readFD(pid, n int) (FD, error) {
	link := pidPath(pid, "fd", strconv.Itoa(n))
	target, err := os.Readlink(link)
	if err != nil {
		return FD{}, err
	}
	// The link is no ordinary one. To follow it leads to the open file itself,
	// also when the name in it is gone or never was one.
	var st unix.Stat_t
	if err := unix.Stat(link, &st); err != nil {
		return FD{}, &fs.PathError{Op: "stat", Path: link, Err: err}
	}
	fd := FD{FD: n, Target: target, Kind: kind(target, uint32(st.Mode)), Dev: uint64(st.Dev), Ino: uint64(st.Ino)}
	return fd, fd.readInfo(pidPath(pid, "fdinfo", strconv.Itoa(n)))
}

// readInfo reads a file in fdinfo (proc_pid_fdinfo(5)): the octal number in the line
// "flags:", and of a signalfd the hexadecimal one in "sigmask:".
func (f *FD) readInfo(path string) error {
	text, err := readFile(path, nil)
	if err != nil {
		return err
	}
	lines := statusLines(text)
	flags, ok := lines["flags"]
	if !ok {
		return fmt.Errorf("parse %s: flags: %w", path, errNoLine)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(flags), 8, 31)
	if err != nil {
		return fmt.Errorf("parse %s: flags: %w", path, err)
	}
	f.Flags = int(n)
	if mask, ok := lines["sigmask"]; ok {
		if f.Signals, err = strconv.ParseUint(strings.TrimSpace(mask), 16, 64); err != nil {
			return fmt.Errorf("parse %s: sigmask: %w", path, err)
		}
	}
	return nil
}

// kind names the type of an open file.
func kind(target string, mode uint32) string {
	// An eventfd, a timerfd, an epoll instance and the like have no file type
	// of their own, and a pidfd says of itself that it is a regular file.
	if strings.HasPrefix(target, "anon_inode:") {
		return "anon"
	}
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "dir"
	case unix.S_IFCHR:
		return "char"
	case unix.S_IFBLK:
		return "block"
	case unix.S_IFIFO:
		return "pipe"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFLNK:
		return "symlink" // opened with O_PATH|O_NOFOLLOW
	}
	return "anon"
}

// looks is how often the list of sockets is read for one that is not found in it.
const looks = 10

// BoundTo returns the path that a Unix socket of our network namespace is bound to
// (unix(7), /proc/net/unix), or "" if it has none. The kernel makes the list piece by
// piece: while other sockets come and go one that is there may be missed, so it is
// looked for more than once.
func BoundTo(inode uint64) string {
	want := strconv.FormatUint(inode, 10)
	for range looks {
		text, err := os.ReadFile("/proc/net/unix")
		if err != nil {
			return ""
		}
		for line := range strings.Lines(string(text)) {
			if field := strings.Fields(line); len(field) > 6 && field[6] == want {
				if len(field) == 8 {
					return field[7]
				}
				return ""
			}
		}
	}
	return ""
}
