//go:build linux

package isdaemon

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"daemonsteps/internal/checks"

	"golang.org/x/sys/unix"
)

// width is how many columns a table may take: those of a terminal of old.
const width = 80

var marks = map[checks.Verdict]string{checks.Pass: "✓", checks.Fail: "✗", checks.Skip: "–"}

var colours = map[checks.Verdict]string{checks.Pass: "\x1b[32m", checks.Fail: "\x1b[1;31m", checks.Skip: "\x1b[2m"}

// useColour says whether w is a terminal whose reader has not asked for no
// colour (https://no-color.org).
func useColour(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func printTable(w io.Writer, r *checks.Report, colour bool) error {
	var b bytes.Buffer
	column := 0
	for _, c := range r.Checks {
		column = max(column, len(c.ID))
	}
	indent := strings.Repeat(" ", 2+column+2)
	for _, c := range r.Checks {
		mark := marks[c.Verdict]
		if colour {
			mark = colours[c.Verdict] + mark + "\x1b[0m"
		}
		fmt.Fprintf(&b, "%s %-*s  ", mark, column, c.ID)
		wrap(&b, printable(c.Evidence), indent)
		if c.Verdict == checks.Fail {
			b.WriteString(indent)
			wrap(&b, fmt.Sprintf("→ lesson %d, %s; %s", c.Lesson, checks.Doc(c.Lesson), c.Source), indent+"  ")
		}
	}
	fmt.Fprintf(&b, "\n%d passed, %d failed, %d not judged\n", r.Passed, r.Failed, r.Skipped)
	_, err := w.Write(b.Bytes())
	return err
}

// printable is for what others may have written: a program's output and its name could
// do anything to the terminal that they are shown on.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		}
		return unicode.ReplacementChar
	}, text)
}

// wrap writes text in lines that fit, when the cursor stands behind indent.
func wrap(b *bytes.Buffer, text, indent string) {
	room := width - len([]rune(indent))
	used := 0
	for i, word := range strings.Fields(text) {
		n := len([]rune(word))
		switch {
		case i == 0:
		case used+1+n > room:
			b.WriteString("\n" + indent)
			used = 0
		default:
			b.WriteString(" ")
			used++
		}
		b.WriteString(word)
		used += n
	}
	b.WriteString("\n")
}

func printList(w io.Writer, list []checks.Check) {
	lesson := 0
	for _, c := range list {
		if c.Lesson != lesson {
			lesson = c.Lesson
			fmt.Fprintf(w, "lesson %d, %s\n", lesson, c.Doc())
		}
		fmt.Fprintf(w, "  %-10s  %s\n", c.ID, c.Title)
	}
}
