package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"
)

// A logFile is where the log goes.
type logFile struct {
	mu      sync.Mutex
	name    string // "" for standard error
	file    *os.File
	journal bool  // systemd's journal reads standard error
	lost    int   // lines that could not be written
	why     error // the last of them
	torn    bool  // the last line has no end yet
}

var log = logFile{file: os.Stderr}

// openLog has slog write to the file of that name, or to standard error if it is "".
func openLog(name string) error {
	log.name = name
	log.journal = name == "" && toJournal(os.Stderr)
	slog.SetDefault(newLogger(&log))
	// When nobody reads standard error any more, a write to it would end us by SIGPIPE.
	// A Go program that handles the signal gets an error instead.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return log.reopen()
}

// reopen goes on in the file that has the log's name now: whoever rotates the log
// has renamed the old one. If that fails, the old file stays in use.
// A new file is its owner's alone, whatever the umask. Its name must not be a symbolic
// link: who may write in the directory could have the daemon write anywhere.
func (l *logFile) reopen() error {
	if l.name == "" {
		return nil
	}
	// O_NONBLOCK: the opening of a FIFO would wait for a reader.
	const flags = os.O_APPEND | os.O_CREATE | os.O_WRONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
	file, err := os.OpenFile(l.name, flags, 0o600)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	if info, err := file.Stat(); err == nil && !info.Mode().IsRegular() {
		file.Close()
		return fmt.Errorf("open the log: %s is not a regular file", l.name)
	}
	// The text of a panic goes to descriptor 2, which is /dev/null; and there, too.
	debug.SetCrashOutput(file, debug.CrashOptions{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != os.Stderr {
		l.file.Close()
	}
	l.file = file
	return nil
}

// report logs that something was done, or why it was not.
func report(done string, err error) {
	if err == nil {
		slog.Info(done)
	} else {
		slog.Error(err.Error())
	}
}

// removeLog removes DIR/log if that is the log that we write: it goes with DIR.
func removeLog(root *os.Root) error {
	named, err := root.Lstat("log")
	opened, err2 := log.file.Stat()
	if log.name == "" || err != nil || err2 != nil || !os.SameFile(named, opened) {
		return nil
	}
	return root.Remove("log")
}

// Write writes a line. It does not fail: a full disk must not end the daemon. What is
// lost is counted, and said when there is room again.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost > 0 {
		var note bytes.Buffer
		newLogger(&note).Warn("log lines lost", "lines", l.lost, "error", l.why)
		if l.write(note.Bytes()) {
			l.lost = 0
		}
	}
	if l.lost > 0 || !l.write(line) {
		l.lost++
	}
	return len(line), nil
}

// write says whether the line has got there, in one write(2): nothing comes between its
// parts. Its end may be missing: the next line brings that, as it does to half a line.
func (l *logFile) write(line []byte) bool {
	if l.journal {
		level, _, _ := bytes.Cut(line, []byte(" "))
		line = append([]byte(priorities[string(level)]), line...)
	}
	if l.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := l.file.Write(line)
	if n > 0 {
		l.torn = line[n-1] != '\n'
	}
	if err != nil {
		l.why = err
	}
	return n >= len(line)-1
}

// newLogger returns a logger with what the reader of a line needs: time and pid. The
// journal knows them, and wants a priority instead (sd-daemon(3), syslog(3)).
func newLogger(w io.Writer) *slog.Logger {
	if !log.journal {
		return slog.New(slog.NewTextHandler(w, nil)).With("pid", os.Getpid())
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
}

var priorities = map[string]string{"level=INFO": "<6>", "level=WARN": "<4>", "level=ERROR": "<3>"}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// toJournal says whether f leads to the journal (systemd.exec(5), $JOURNAL_STREAM).
func toJournal(f *os.File) bool {
	var st syscall.Stat_t
	return syscall.Fstat(int(f.Fd()), &st) == nil && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
