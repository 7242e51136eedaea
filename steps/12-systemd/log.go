package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
)

// openLog has slog write to standard error. Where that leads, who rotates it, and what
// happens when the disk is full, is up to whoever starts us.
func openLog() error {
	// When nobody reads standard error any more, a write to it would end us by SIGPIPE.
	// A Go program that handles the signal gets an error instead.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("pid", os.Getpid())
	if toJournal(os.Stderr) { // It knows time and pid, and wants a priority instead.
		logger = slog.New(slog.NewTextHandler(journal{os.Stderr}, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	}
	slog.SetDefault(logger)
	return keepCrash(os.Getenv("LOGS_DIRECTORY"))
}

// keepCrash has the text of a panic go to DIR/crash as well. It can be longer than what
// the journal takes from one service at a time, and it is what one looks for later.
func keepCrash(dir string) error {
	if dir == "" {
		return nil
	}
	const flags = os.O_APPEND | os.O_CREATE | os.O_WRONLY | syscall.O_NOFOLLOW
	file, err := os.OpenFile(filepath.Join(dir, "crash"), flags, 0o600)
	if err != nil {
		return fmt.Errorf("open the file for crashes: %w", err)
	}
	defer file.Close() // The runtime has a copy.
	return debug.SetCrashOutput(file, debug.CrashOptions{})
}

// A journal is where systemd reads each line with its priority in front
// (sd-daemon(3), syslog(3)).
type journal struct{ io.Writer }

var priorities = map[string]string{"level=INFO": "<6>", "level=WARN": "<4>", "level=ERROR": "<3>"}

func (j journal) Write(line []byte) (int, error) {
	level, _, _ := bytes.Cut(line, []byte(" "))
	if _, err := j.Writer.Write(append([]byte(priorities[string(level)]), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// report logs that something was done, or why it was not.
func report(done string, err error) {
	if err == nil {
		slog.Info(done)
	} else {
		slog.Error(err.Error())
	}
}

// fail says why we end, a line for each fault.
func fail(name string, err error) {
	begin := name + ": "
	if toJournal(os.Stderr) {
		begin = priorities["level=ERROR"] + begin
	}
	fmt.Fprintf(os.Stderr, "%s%s\n", begin, strings.ReplaceAll(err.Error(), "\n", "\n"+begin))
}

// toJournal says whether f leads to the journal (systemd.exec(5), $JOURNAL_STREAM).
func toJournal(f *os.File) bool {
	var st syscall.Stat_t
	return syscall.Fstat(int(f.Fd()), &st) == nil && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
