//go:build linux

package daemonsteps

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"daemonsteps/internal/proc"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// The verbs about logs. testdata/README.md says what each does.
func init() {
	verbs["logs"] = logs
	verbs["holds"] = holds
	verbs["numbered"] = numbered
	verbs["logrotate"] = logrotate
	verbs["rotates"] = rotates
	verbs["mounted"] = mounted
	verbs["fill"] = fill
}

// logs waits until a line of a file matches a pattern; with -next, a line that was not
// there when the wait began.
func logs(ts *testscript.TestScript, neg bool, args []string) {
	next := len(args) > 0 && args[0] == "-next"
	if next {
		args = args[1:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: logs [-next] PATTERN FILE")
	}
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	path, from := ts.MkAbs(args[1]), 0
	if next {
		text, err := os.ReadFile(path)
		ts.Check(err)
		from = bytes.LastIndexByte(text, '\n') + 1
	}
	await(ts, path, fmt.Sprintf("no line like %q", args[0]), func(text []byte) bool {
		return len(text) > from && re.Match(text[from:])
	})
}

// await waits until the text of a file is as asked. The kernel tells when something
// changes in the file's directory (inotify(7)), so that nothing is missed.
func await(ts *testscript.TestScript, path, otherwise string, asked func([]byte) bool) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	ts.Check(err)
	defer unix.Close(fd)
	_, err = unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_MODIFY)
	ts.Check(err)
	events := make([]byte, 4096)
	for end := time.Now().Add(deadline); ; {
		text, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			ts.Check(err)
		}
		if asked(text) {
			return
		}
		left := time.Until(end)
		if left <= 0 {
			ts.Fatalf("%s: %s after %v, but %q; %s", path, otherwise, deadline, text, processes(ts))
		}
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && err != unix.EINTR {
			ts.Check(err)
		}
		for { // What has happened so far, the next look shows.
			if _, err := unix.Read(fd, events); err != nil && err != unix.EINTR {
				break
			}
		}
	}
}

// processes shows those of the lab.
func processes(ts *testscript.TestScript) string {
	st := started(ts)
	live, err := st.lab.Live()
	text := fmt.Sprintf("the daemon is %d, and these live (%v):", st.daemon, err)
	for _, pid := range live {
		s, _ := st.lab.Stat(pid)
		text += fmt.Sprintf(" %d (%s) state %s", pid, s.Comm, s.State)
	}
	return text
}

// holds says, by /proc/PID/fd, that the daemon has these files open, or with "!" none
// of them. "deleted" stands for any file whose name is gone.
func holds(ts *testscript.TestScript, neg bool, args []string) {
	st := started(ts)
	p, err := st.lab.State(st.daemon)
	ts.Check(err)
	for _, name := range args {
		var stat unix.Stat_t
		if name != "deleted" {
			if err := unix.Stat(ts.MkAbs(name), &stat); err != nil {
				ts.Fatalf("stat %s: %v", name, err)
			}
		}
		open := slices.ContainsFunc(p.FDs, func(fd proc.FD) bool {
			if name == "deleted" {
				return fd.Kind == "file" && strings.HasSuffix(fd.Target, " (deleted)")
			}
			return fd.Dev == uint64(stat.Dev) && fd.Ino == stat.Ino
		})
		if open == neg {
			ts.Fatalf("process %d has %s open: %v; it has %+v", st.daemon, name, open, p.FDs)
		}
	}
}

var (
	wholeLine = regexp.MustCompile(`^time=\S+ level=[A-Z]+ msg=("(?:[^"\\]|\\.)*"|\S+) pid=\d+(?: |$)`)
	tickLine  = regexp.MustCompile(` msg=tick pid=\d+ n=(\d+)$`)
	lostLine  = regexp.MustCompile(` level=WARN msg="log lines lost" pid=\d+ lines=(\d+) error="write .*: no space left on device"$`)
)

// numbered says that the ticks in a log, and in what was rotated out of it, have the
// numbers 1, 2, 3 and so on, with none missing, double or out of order. With -lost
// some are missing, and the log says how many.
func numbered(ts *testscript.TestScript, neg bool, args []string) {
	lost := len(args) > 0 && args[0] == "-lost"
	if lost {
		args = args[1:]
	}
	if len(args) != 1 {
		ts.Fatalf("usage: numbered [-lost] FILE")
	}
	text, err := wholeLog(ts.MkAbs(args[0]))
	ts.Check(err)
	ticks, missing, said, err := count(text)
	switch {
	case err != nil:
	case ticks < 2:
		ts.Fatalf("%d ticks in the log prove nothing: %q", ticks, text)
	case !lost && missing+said > 0:
		err = fmt.Errorf("%d ticks are missing", missing)
	case lost && (said == 0 || missing != said):
		err = fmt.Errorf("%d ticks are missing, and the log says %d", missing, said)
	}
	ts.Logf("%d ticks, %d missing, %d said to be lost: %v", ticks, missing, said, err)
	if (err != nil) != neg {
		ts.Fatalf("%q: %v", text, err)
	}
}

// wholeLog returns the text of a log: the oldest of what was rotated comes first.
func wholeLog(path string) (text []byte, err error) {
	names := []string{path}
	for n := 1; ; n++ {
		found, _ := filepath.Glob(fmt.Sprintf("%s.%d*", path, n))
		found = slices.DeleteFunc(found, func(name string) bool { // log.1 is not log.10.
			return strings.TrimSuffix(name, ".gz") != fmt.Sprintf("%s.%d", path, n)
		})
		if len(found) == 0 {
			break
		}
		names = append(names, found...)
	}
	for _, name := range slices.Backward(names) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		var r io.Reader = f
		if strings.HasSuffix(name, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				return nil, err
			}
		}
		more, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		text = append(text, more...)
	}
	return text, nil
}

// count counts the ticks of a log, those that are missing between them, and those of
// which the log says that they were lost.
func count(text []byte) (ticks, missing, said int, err error) {
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" })
	next := 1
	for i, line := range lines {
		// Of a line that was cut off the beginning stands there. A note follows.
		cut := i+1 < len(lines) && strings.Contains(lines[i+1], "log lines lost")
		n := 0
		if m := tickLine.FindStringSubmatch(line); m != nil {
			n, _ = strconv.Atoi(m[1])
		}
		if m := lostLine.FindStringSubmatch(line); m != nil {
			more, _ := strconv.Atoi(m[1])
			said += more
			continue
		}
		switch {
		case n >= next:
			ticks++
			missing += n - next
			next = n + 1
		case (n > 0 || !wholeLine.MatchString(line)) && !cut:
			return ticks, missing, said, fmt.Errorf("after tick %d stands %q", next-1, line)
		}
	}
	return ticks, missing, said, nil
}

// TestCount holds that a log with something wrong about it fails.
func TestCount(t *testing.T) {
	t.Parallel()
	tick := func(n int) string { return fmt.Sprintf("time=t level=INFO msg=tick pid=7 n=%d\n", n) }
	lost := func(n int) string {
		return fmt.Sprintf("time=t level=WARN msg=\"log lines lost\" pid=7 lines=%d error=\"write /l: no space left on device\"\n", n)
	}
	const half = "time=t level=INFO msg=tick pi\n"
	other := "time=t level=INFO msg=\"log opened again\" pid=7\n"
	for _, c := range []struct {
		name, text           string
		ticks, missing, said int
		fails                bool
	}{
		{"right", tick(1) + other + tick(2) + tick(3), 3, 0, 0, false},
		{"missing", tick(1) + tick(3), 2, 1, 0, false},
		{"missing, at first", tick(3), 1, 2, 0, false},
		{"double", tick(1) + tick(2) + tick(2), 2, 0, 0, true},
		{"out of order", tick(1) + tick(3) + tick(2), 2, 1, 0, true},
		{"half a line", tick(1) + half + tick(2), 1, 0, 0, true},
		{"two lines in one", tick(1) + strings.TrimSuffix(half, "\n") + other + tick(2), 1, 0, 0, true},
		{"lost", tick(1) + lost(2) + tick(4), 2, 2, 2, false},
		{"lost, with half a line", tick(1) + half + "\n" + lost(2) + tick(4), 2, 2, 2, false},
		{"lost, with half a number", tick(11) + tick(1) + lost(1) + tick(13), 2, 11, 1, false},
		{"lost, with half a note", tick(1) + lost(1)[:60] + "\n" + lost(2) + tick(4), 2, 2, 2, false},
		{"lost twice", tick(1) + lost(2) + tick(4) + lost(1) + tick(6), 3, 3, 3, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ticks, missing, said, err := count([]byte(c.text))
			if ticks != c.ticks || missing != c.missing || said != c.said || (err != nil) != c.fails {
				t.Errorf("%q: %d ticks, %d missing, %d said, %v", c.text, ticks, missing, said, err)
			}
		})
	}
}

// logrotate runs the real logrotate(8), which is to rotate now. In its configuration
// $WORK and $DAEMON stand for what they are.
func logrotate(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: logrotate CONFIG")
	}
	err := rotate(ts, args[0])
	if (err != nil) != neg {
		ts.Fatalf("logrotate: %v", err)
	}
}

func rotate(ts *testscript.TestScript, config string) error {
	text := os.Expand(ts.ReadFile(config), ts.Getenv)
	real := ts.MkAbs(config + ".real")
	// It takes no configuration that others may write, and root's must be root's.
	ts.Check(os.WriteFile(real, []byte(text), 0o644))
	return ts.Exec("logrotate", "-f", "-s", ts.MkAbs("logrotate.state"), real)
}

// rotates has logrotate rotate a log N times, or M times with go test -storm, while
// the daemon writes. Each time a new log has to begin with the line that says so, and
// from then on nothing more comes to the old one.
func rotates(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: rotates N M CONFIG LOG")
	}
	times, err := strconv.Atoi(args[0])
	if *storm {
		times, err = strconv.Atoi(args[1])
	}
	ts.Check(err)
	log := ts.MkAbs(args[3])
	opened := regexp.MustCompile(`^time=\S+ level=INFO msg="log opened again" pid=\d+\n`)
	follows := regexp.MustCompile(`(?m)^time=\S+ level=INFO msg=tick pid=\d+ n=\d+\n`)
	size := func() int64 {
		old, err := os.Stat(log + ".1")
		ts.Check(err)
		return old.Size()
	}
	for range times {
		await(ts, log, "no tick", follows.Match)
		if err := rotate(ts, args[2]); err != nil {
			ts.Fatalf("logrotate: %v", err)
		}
		await(ts, log, "it does not begin with the line that it was opened again", func(text []byte) bool {
			return opened.Match(text)
		})
		was := size()
		await(ts, log, "no tick in the new log", follows.Match)
		if is := size(); is != was {
			ts.Fatalf("the old log grew from %d to %d bytes after the new one was opened", was, is)
		}
		holds(ts, false, []string{log})
		holds(ts, true, []string{log + ".1", "deleted"})
	}
}

// mounted sets $INSIDE to where the file system of start -mount is for the daemon, and
// $MOUNTED to where it can be seen from here, in another mount namespace.
func mounted(ts *testscript.TestScript, neg bool, args []string) {
	noArgs(ts, args)
	dir := filepath.Join(started(ts).lab.Place(), "mounted")
	children, err := proc.Children(os.Getpid())
	ts.Check(err)
	for _, pid := range children { // One of them is the guardian of this lab.
		mounts, _ := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if bytes.Contains(mounts, []byte(" "+dir+" ")) {
			ts.Setenv("INSIDE", dir)
			ts.Setenv("MOUNTED", fmt.Sprintf("/proc/%d/root%s", pid, dir))
			return
		}
	}
	ts.Fatalf("no guardian of ours has mounted %s", dir)
}

// fill fills the file system that a log is on, but for so many bytes that still fit
// into the log. "line" stands for as many as the next tick has. $LATER is the number
// of a tick a little after that.
func fill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: fill FILE LEFT")
	}
	path := ts.MkAbs(args[0])
	text, err := os.ReadFile(path)
	ts.Check(err)
	last := text[bytes.LastIndexByte(bytes.TrimSuffix(text, []byte("\n")), '\n')+1:]
	n := 0
	if m := tickLine.FindSubmatch(bytes.TrimSuffix(last, []byte("\n"))); m != nil {
		n, _ = strconv.Atoi(string(m[1]))
	}
	ts.Setenv("LATER", strconv.Itoa(n+5))
	left, err := strconv.Atoi(args[1])
	if less, ok := strings.CutPrefix(args[1], "line"); ok {
		if n == 0 {
			ts.Fatalf("%s does not end with a tick, but with %q", path, last)
		}
		left, err = len(last)+len(strconv.Itoa(n+1))-len(strconv.Itoa(n)), nil
		if less != "" {
			var d int
			d, err = strconv.Atoi(less)
			left += d
		}
	}
	ts.Check(err)
	// A file has whole pages. What is free in its last one is the log's own.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	ts.Check(err)
	defer f.Close()
	page := os.Getpagesize()
	pad := (2*page - left - len(text)%page) % page
	_, err = f.Write(bytes.Repeat([]byte("\n"), pad))
	ts.Check(err)
	filler, err := os.Create(filepath.Join(filepath.Dir(path), "filler"))
	ts.Check(err)
	defer filler.Close()
	for err == nil {
		_, err = filler.Write(make([]byte, page))
	}
	if !errors.Is(err, unix.ENOSPC) {
		ts.Fatalf("fill the file system: %v", err)
	}
}
