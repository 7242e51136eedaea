//go:build linux

package daemonsteps

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func init() {
	verbs["ticks"] = ticks
	verbs["hangups"] = hangups
}

// ticks waits until what the daemon has written into its file matches a pattern, in
// which ^ and $ stand for the ends of a line. With "!" it must not match, when all is
// at rest.
func ticks(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: ticks PATTERN")
	}
	if !neg {
		awaitTicks(ts, args[0], func() {})
		return
	}
	_, err := started(ts).lab.Rest(deadline)
	ts.Check(err)
	if text := ts.ReadFile(ticksFile(ts)); compile(ts, args[0]).MatchString(text) {
		ts.Fatalf("the daemon has written\n%s", text)
	}
}

func compile(ts *testscript.TestScript, pattern string) *regexp.Regexp {
	re, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	return re
}

// ticksFile returns the path of the file into which the daemon ticks. When start has
// returned all was at rest: it is there, if it ever comes.
func ticksFile(ts *testscript.TestScript) string {
	paths, err := filepath.Glob(filepath.Join(started(ts).session.Info.TmpDir, "daemonsteps-*", "ticks"))
	ts.Check(err)
	if len(paths) != 1 {
		ts.Fatalf("files of ticks: %q, and there should be one", paths)
	}
	return paths[0]
}

// awaitTicks waits for a match, and calls each before it waits for another change.
func awaitTicks(ts *testscript.TestScript, pattern string, each func()) {
	st, path, re := started(ts), ticksFile(ts), compile(ts, pattern)
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	ts.Check(err)
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	_, err = unix.InotifyAddWatch(fd, path, unix.IN_MODIFY)
	ts.Check(err)
	end := time.Now().Add(deadline)
	ts.Check(events.SetReadDeadline(end))
	for {
		text := ts.ReadFile(path) // After the watch is set: no change goes unseen.
		if re.MatchString(text) {
			return
		}
		each()
		_, err := events.Read(make([]byte, 4096))
		if errors.Is(err, os.ErrDeadlineExceeded) || time.Now().After(end) {
			_, err = st.lab.WaitExit(st.daemon, 0) // It tells the processes as they are.
			if len(text) > 4096 {
				text = "…" + text[len(text)-4096:]
			}
			ts.Fatalf("after %v the daemon has written\n%s%v", deadline, text, err)
		}
		ts.Check(err)
	}
}

// hangups puts another file in the place of a configuration file, by rename(2), and
// sends the daemon SIGHUP; and that many times, as fast as it can. The text is t1, t2
// and so on; $LAST is the last one. "until PATTERN" instead sends SIGHUP each time that
// the daemon has written something, until what it has written matches.
func hangups(ts *testscript.TestScript, neg bool, args []string) {
	st := started(ts)
	if len(args) == 2 && args[0] == "until" && !neg {
		awaitTicks(ts, args[1], func() { ts.Check(st.lab.Signal(st.daemon, syscall.SIGHUP)) })
		return
	}
	if len(args) != 3 || neg {
		ts.Fatalf("usage: hangups TIMES TIMES-IN-A-STORM FILE, or hangups until PATTERN")
	}
	n, full := 0, 0
	if _, err := fmt.Sscan(args[0]+" "+args[1], &n, &full); err != nil {
		ts.Fatalf("how often? %v", err)
	}
	if *storm {
		n = full
	}
	file := ts.MkAbs(args[2])
	for i := 1; i <= n; i++ {
		ts.Setenv("LAST", fmt.Sprintf("t%d", i))
		ts.Check(os.WriteFile(file+".new", fmt.Appendf(nil, "text = t%d\nevery = 50ms\n", i), 0o666))
		ts.Check(os.Rename(file+".new", file))
		ts.Check(st.lab.Signal(st.daemon, syscall.SIGHUP))
	}
}
