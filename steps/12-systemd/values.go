package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What a setting can be. Each is a flag.Value: the command line, the environment and
// the file are read by the same code, and refuse the same.

// An interval is a time to wait. It is short enough that a sum of two is one, too.
type interval struct{ time.Duration }

const maxInterval = 1 << 62 // nanoseconds: 146 years

func (i *interval) Set(s string) (err error) {
	if i.Duration, err = time.ParseDuration(s); err != nil || i.Duration <= 0 || i.Duration > maxInterval {
		return fmt.Errorf("%.60q is not a time to wait, as 1s or 200ms", s)
	}
	return nil
}

// A line is a text that fits on one line. With a line break in it a tick could look
// like something that the daemon never said.
type line string

const maxLine = 1000 // bytes

func (l *line) String() string { return string(*l) }

func (l *line) Set(s string) error {
	if len(s) > maxLine {
		return fmt.Errorf("%.60q has %d bytes, more than %d", s, len(s), maxLine)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%.60q is not UTF-8", s)
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%.60q has a control character", s)
	}
	*l = line(s)
	return nil
}

// A path is absolute from the start: the daemon's working directory is another.
type path string

func (p *path) String() string { return string(*p) }

func (p *path) Set(s string) error {
	if s == "" { // filepath.Abs takes it for the working directory.
		return errors.New("no file has this name")
	}
	abs, err := filepath.Abs(s)
	*p = path(abs)
	return err
}
