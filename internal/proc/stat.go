//go:build linux

package proc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Stat is what /proc/PID/stat alone tells, see proc_pid_stat(5).
type Stat struct {
	PID   int    `json:"pid"`
	PPID  int    `json:"ppid"`
	PGID  int    `json:"pgid"`
	SID   int    `json:"sid"`
	TTY   string `json:"tty"`    // controlling terminal, such as "pts/3"; "" for none
	TTYNr int    `json:"tty_nr"` // its device number as the kernel writes it
	Comm  string `json:"comm"`
	State string `json:"state"`      // one letter, such as "S"
	Start uint64 `json:"start_time"` // clock ticks after boot
	Flags uint64 `json:"-"`          // the PF_* bits of the kernel's linux/sched.h
}

// The two PF_* bits this package asks for.
const (
	pfExiting      = 0x00000004
	pfKernelThread = 0x00200000
)

// ending reports whether the process gives back what it held, or has done so.
// A process is on this way for a moment before its state becomes Z.
func (s Stat) ending() bool {
	return s.State == "Z" || s.State == "X" || s.Flags&pfExiting != 0
}

func (s Stat) kernelThread() bool { return s.Flags&pfKernelThread != 0 }

// ReadStat reads only /proc/PID/stat.
func ReadStat(pid int) (Stat, error) {
	path := pidPath(pid, "stat")
	text, err := readFile(path, nil)
	if err != nil {
		return Stat{PID: pid}, goneError(pid, err)
	}
	s, err := parseStat(string(text))
	if err != nil {
		return Stat{PID: pid}, fmt.Errorf("parse %s: %w", path, err)
	}
	return s, nil
}

// parseStat reads one line such as
//
//	4711 (cat) S 4700 4711 4700 34816 4711 4194304 ...
//
// The name may hold spaces, brackets and newlines, because a process chooses
// its name freely. What follows the name holds no bracket. So the name ends at
// the last ')' of the line and not at the first.
func parseStat(text string) (Stat, error) {
	open, end := strings.Index(text, " ("), strings.LastIndex(text, ")")
	if open < 0 || end < open+len(" (") {
		return Stat{}, errors.New("no name in parentheses")
	}
	s := Stat{Comm: text[open+len(" (") : end]}

	// proc_pid_stat(5) counts from 1, and the state is field 3.
	const firstField, lastField = 3, 22
	fields := strings.Fields(text[end+1:])
	if len(fields) <= lastField-firstField {
		return Stat{}, fmt.Errorf("%d fields after the name, want %d at least",
			len(fields), lastField-firstField+1)
	}
	field := func(n int) string { return fields[n-firstField] }

	s.State = field(3)
	var errs [7]error
	s.PID, errs[0] = strconv.Atoi(text[:open])
	s.PPID, errs[1] = strconv.Atoi(field(4))
	s.PGID, errs[2] = strconv.Atoi(field(5))
	s.SID, errs[3] = strconv.Atoi(field(6))
	s.TTYNr, errs[4] = strconv.Atoi(field(7))
	s.Flags, errs[5] = strconv.ParseUint(field(9), 10, 64)
	s.Start, errs[6] = strconv.ParseUint(field(22), 10, 64)
	for _, err := range errs {
		if err != nil {
			return Stat{}, err
		}
	}
	s.TTY = ttyName(s.TTYNr)
	return s, nil
}

// ttyName names the terminal with the device number nr, as the kernel's
// Documentation/admin-guide/devices.txt does.
//
// The minor number has 20 bits. The major number stands between its low 8 and
// its high 12 bits: mmmmmmmm mmmmMMMM MMMMMMMM mmmmmmmm.
func ttyName(nr int) string {
	if nr == 0 {
		return ""
	}
	// The kernel writes the 32 bits as a signed number.
	bits := uint32(nr)
	major := bits >> 8 & 0xfff
	minor := bits&0xff | bits>>12&0xfff00
	switch {
	case major >= 136 && major <= 143:
		// Eight majors date from the time of 8-bit minors. A kernel of today
		// uses 136 alone.
		return fmt.Sprintf("pts/%d", (major-136)*256+minor)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	case major == 4:
		return fmt.Sprintf("ttyS%d", minor-64)
	}
	return fmt.Sprintf("%d:%d", major, minor)
}
