package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// A logFile is where the log goes.
type logFile struct {
	mu   sync.Mutex
	name string // "" for standard error
	file *os.File
	lost int   // lines that could not be written
	why  error // the last of them
	torn bool  // the last one was written in part
}

var log = logFile{file: os.Stderr}

// openLog has slog write to the file of that name, or to standard error if it is "".
func openLog(name string) error {
	log.name = name
	text := slog.NewTextHandler(&log, nil)
	slog.SetDefault(slog.New(handler{text, name == "" && toJournal(os.Stderr)}))
	return log.reopen()
}

// reopen goes on in the file that has the log's name now: whoever rotates the log
// has renamed the old one. If that fails, the old file stays in use.
//
// The file is its owner's alone, whatever the umask. Its name must not be a symbolic
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
	if err != nil {
		slog.Error(err.Error())
		return
	}
	slog.Info(done)
}

// removeLog removes the log that goes with the daemon's own directory, if it is there.
func removeLog(root *os.Root) error {
	if err := root.Remove("log"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Write writes a line, in one write(2): nothing comes between its parts. It does not
// fail. A full disk must not end the daemon; what is lost is counted, and said when
// there is room again.
func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost > 0 {
		note := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines lost", 0)
		note.Add("lines", l.lost, "error", l.why)
		var text bytes.Buffer
		slog.NewTextHandler(&text, nil).Handle(context.Background(), note)
		if !l.write(text.Bytes()) {
			l.lost++
			return len(line), nil
		}
		l.lost = 0
	}
	if !l.write(line) {
		l.lost++
	}
	return len(line), nil
}

func (l *logFile) write(text []byte) bool {
	if l.torn {
		text = append([]byte("\n"), text...) // The half line gets an end of its own.
	}
	n, err := l.file.Write(text)
	if n > 0 {
		l.torn = text[n-1] != '\n'
	}
	l.why = err
	return err == nil
}

// A handler adds to a line what its reader needs: the daemon's pid, or for systemd's
// journal, which knows time and pid, the priority <N> (sd-daemon(3)).
type handler struct {
	slog.Handler
	journal bool
}

// priorities are those of syslog(3).
var priorities = map[slog.Level]int{slog.LevelInfo: 6, slog.LevelWarn: 4, slog.LevelError: 3}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	if !h.journal {
		r.Add("pid", os.Getpid())
		return h.Handler.Handle(ctx, r)
	}
	r.Time = time.Time{} // It is left out.
	var text bytes.Buffer
	fmt.Fprintf(&text, "<%d>", priorities[r.Level])
	slog.NewTextHandler(&text, nil).Handle(ctx, r)
	_, err := log.Write(text.Bytes())
	return err
}

// toJournal says whether f leads to the journal (systemd.exec(5), $JOURNAL_STREAM).
func toJournal(f *os.File) bool {
	var st syscall.Stat_t
	if syscall.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	return os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}
