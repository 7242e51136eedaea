//go:build linux

package proc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var errNoLine = errors.New("no such line")

// readStatus reads /proc/PID/status, see proc_pid_status(5).
func (p *Process) readStatus() error {
	path := pidPath(p.PID, "status")
	text, err := readFile(path, nil)
	if err != nil {
		return err
	}
	s := status{path: path, lines: statusLines(text)}

	// The last argument is the base: counts are decimal, modes octal, masks hex.
	p.UIDs = s.ids("Uid")
	p.GIDs = s.ids("Gid")
	for _, group := range s.numbers("Groups", 10) {
		p.Groups = append(p.Groups, int(group))
	}
	p.Caps = Caps{s.number("CapInh", 16), s.number("CapPrm", 16), s.number("CapEff", 16), s.number("CapBnd", 16), s.number("CapAmb", 16)}
	p.NoNewPrivs = s.number("NoNewPrivs", 10) == 1
	p.Ignored = SignalNames(s.number("SigIgn", 16))
	p.Caught = SignalNames(s.number("SigCgt", 16))
	p.Umask = Mode(s.number("Umask", 8))
	return s.err
}

// statusLines cuts a file into lines of a key, a colon and a value.
func statusLines(text []byte) map[string]string {
	lines := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		lines[key] = value
	}
	return lines
}

// status is the file cut into lines, and the first error in reading them.
type status struct {
	path  string
	lines map[string]string
	err   error
}

// fail keeps the first error. The other lines are read all the same.
func (s *status) fail(key string, err error) {
	if s.err == nil {
		s.err = fmt.Errorf("parse %s: %s: %w", s.path, key, err)
	}
}

// numbers returns all the numbers in the line key.
func (s *status) numbers(key string, base int) []uint64 {
	line, ok := s.lines[key]
	if !ok {
		s.fail(key, errNoLine)
		return nil
	}
	var numbers []uint64
	for _, word := range strings.Fields(line) {
		n, err := strconv.ParseUint(word, base, 64)
		if err != nil {
			s.fail(key, err)
			return nil
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// number returns the one number in the line key.
func (s *status) number(key string, base int) uint64 {
	numbers := s.numbers(key, base)
	if len(numbers) != 1 {
		s.fail(key, fmt.Errorf("%d numbers, want 1", len(numbers)))
		return 0
	}
	return numbers[0]
}

// ids returns the four numbers of the lines Uid and Gid.
func (s *status) ids(key string) IDs {
	n := s.numbers(key, 10)
	if len(n) != 4 {
		s.fail(key, fmt.Errorf("%d numbers, want 4", len(n)))
		return IDs{}
	}
	return IDs{Real: int(n[0]), Effective: int(n[1]), Saved: int(n[2]), FS: int(n[3])}
}
