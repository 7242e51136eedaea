//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"daemonsteps/internal/proc"

	"golang.org/x/sys/unix"
)

// lineWidth is what a table line may take: the width of a plain terminal.
const lineWidth = 80

// column is one process in the table.
type column struct {
	title  string
	p      *proc.Process // nil if it was not seen
	parent string        // its parent's name, if known
	leader string        // what there is to say about its session's leader
}

func columnOf(title string, p *proc.Process) column {
	c := column{title: title, p: p}
	if p != nil {
		if stat, err := proc.ReadStat(p.PPID); err == nil {
			c.parent = stat.Comm
		}
		if _, err := proc.ReadStat(p.SID); errors.Is(err, proc.ErrGone) {
			c.leader = " (ended)"
		}
	}
	return c
}

// row is a line of the table. It is in the tables of step from and later.
type row struct {
	label string
	cell  func(column) string
	from  int
}

// rows are the lines of the table, from top to bottom.
var rows = []row{
	{"pid", func(c column) string { return strconv.Itoa(c.p.PID) }, 1},
	{"ppid", func(c column) string {
		if c.parent == "" {
			return strconv.Itoa(c.p.PPID)
		}
		return fmt.Sprintf("%d (%s)", c.p.PPID, c.parent)
	}, 1},
	{"pgid", func(c column) string { return strconv.Itoa(c.p.PGID) }, 1},
	{"sid", func(c column) string { return strconv.Itoa(c.p.SID) + c.leader }, 1},
	{"tty", func(c column) string {
		if c.p.TTY == "" {
			return "none"
		}
		return c.p.TTY
	}, 1},
	{"cwd", func(c column) string { return orUnknown(c.p.Cwd) }, 1},
	{"umask", func(c column) string { return c.p.Umask.String() }, 1},
	{"fd 0", func(c column) string { return descriptor(c.p, 0) }, 1},
	{"fd 1", func(c column) string { return descriptor(c.p, 1) }, 1},
	{"fd 2", func(c column) string { return descriptor(c.p, 2) }, 1},
	{"uid", func(c column) string { return strconv.Itoa(c.p.UIDs.Effective) }, 11},
	{"environ", func(c column) string {
		if len(c.p.Environ) == 0 { // There is always one, so it may not be read.
			return "?"
		}
		return fmt.Sprintf("%d variables", len(c.p.Environ))
	}, 11},
	{"newprivs", func(c column) string {
		if c.p.NoNewPrivs {
			return "none"
		}
		return "possible"
	}, 11},
}

// files tells which files the daemon has to do with, below the directory of its start:
// none before step 6.
func files(s step, e entry, colour bool, daemon *proc.Process) string {
	socket, pid := "", ""
	below := func(path string) string {
		if rel, err := filepath.Rel(e.dir, path); err == nil {
			return rel
		}
		return path
	}
	// What is given last holds. It may have been opened by now, or not yet.
	given := map[string]string{}
	for i, arg := range daemon.Cmdline[:max(0, len(daemon.Cmdline)-1)] {
		given[arg] = below(daemon.Cmdline[i+1])
	}
	for _, fd := range daemon.FDs {
		if fd.Kind == "socket" {
			if path := proc.BoundTo(fd.Ino); path != "" { // It may have others for a moment.
				socket = below(path)
			}
		}
	}
	if holder(e.pidFile()) == daemon.PID {
		pid = below(e.pidFile()) + ", which it holds"
	}
	var b strings.Builder
	for _, f := range []struct {
		label, cell string
		from        int
	}{
		{"config", given["-config"], 6}, {"log", given["-log"], 7}, {"PID file", pid, 8}, {"socket", socket, 9},
	} {
		if s.number() >= supervised && f.label == "log" {
			f.cell = below(filepath.Join(e.files(), "log"))
		}
		if s.number() >= f.from && (s.number() < supervised || f.label != "PID file") {
			fmt.Fprintf(&b, "%-8s  %s\n", f.label, highlight(clean(orUnknown(f.cell)), slices.Contains(s.rows, f.label), colour))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "\nits files, in " + clean(e.dir) + ":\n" + b.String()
}

const newMark = " *"

// highlight gives a cell its mark, and colour too if that is asked for.
func highlight(cell string, marked, colour bool) string {
	switch {
	case !marked:
		return cell
	case colour:
		return "\x1b[1;32m" + cell + newMark + "\x1b[0m"
	}
	return cell + newMark
}

func descriptor(p *proc.Process, n int) string {
	for _, fd := range p.FDs {
		if fd.FD == n {
			return orUnknown(fd.Target)
		}
	}
	// Who may not list the descriptors may not read the cwd either.
	if p.Cwd == "" {
		return "?"
	}
	return "closed"
}

// orUnknown returns a ? for what could not be read.
func orUnknown(s string) string {
	if s == "" {
		return "?"
	}
	return s
}

// table draws the columns side by side. In the last one, the rows that show what is new
// in the step get a mark, and colour too if that is asked for.
func table(s step, colour bool, columns ...column) string {
	const gap = 2
	var rows = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.from > s.number() })
	label := 0
	for _, row := range rows {
		label = max(label, width(row.label))
	}
	// Line 0 is the head.
	lines := make([][]string, 1+len(rows))
	widths := make([]int, len(columns))
	for i, c := range columns {
		lines[0] = append(lines[0], c.title)
		for j, row := range rows {
			cell := "-"
			if c.p != nil {
				cell = clean(row.cell(c))
			}
			lines[1+j] = append(lines[1+j], cell)
		}
		for _, line := range lines {
			widths[i] = max(widths[i], width(line[i]))
		}
	}
	// Too wide: the widest column gives way, until all fit.
	for {
		total := label + len(newMark)
		widest := 0
		for i, w := range widths {
			total += gap + w
			if w > widths[widest] {
				widest = i
			}
		}
		if total <= lineWidth {
			break
		}
		widths[widest]--
	}

	var b strings.Builder
	for j, line := range lines {
		name := ""
		if j > 0 {
			name = rows[j-1].label
		}
		b.WriteString(pad(name, label))
		for i, cell := range line {
			cell = shorten(cell, widths[i])
			b.WriteString(strings.Repeat(" ", gap))
			if i < len(line)-1 {
				b.WriteString(pad(cell, widths[i]))
			} else {
				b.WriteString(highlight(cell, slices.Contains(s.rows, name), colour))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// colourful reports whether colour is welcome on f: a terminal that has it, and
// a reader who has not set NO_COLOR (https://no-color.org).
func colourful(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	term := os.Getenv("TERM")
	return err == nil && os.Getenv("NO_COLOR") == "" && term != "" && term != "dumb"
}

// clean replaces what would not show as itself. A process chooses its own name,
// and a directory may have any: neither may send commands to the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// shorten takes out the middle of s if s is wider than w. A path tells most at
// its two ends.
func shorten(s string, w int) string {
	if width(s) <= w {
		return s
	}
	head, tail := []rune(s), []rune(s)
	for width(string(head)) > (w-1)/2 {
		head = head[:len(head)-1]
	}
	for width(string(tail)) > w-1-width(string(head)) {
		tail = tail[1:]
	}
	return string(head) + "…" + string(tail)
}

func pad(s string, w int) string { return s + strings.Repeat(" ", max(0, w-width(s))) }

// width returns how many cells of a terminal s takes: East Asian letters take
// two, and marks that combine with the letter before them none.
func width(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me):
		case unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
			r >= 0x3000 && r <= 0x303f, r >= 0xff01 && r <= 0xff60:
			n += 2
		default:
			n++
		}
	}
	return n
}
