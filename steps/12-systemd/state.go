package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
)

// The number of the last tick outlives the daemon, and the machine's next start, in the
// directory that the service manager keeps for it ($STATE_DIRECTORY).

// lastTick returns the number of the last tick, or 0 if there is none, or none to be had.
func lastTick() int {
	dir := os.Getenv("STATE_DIRECTORY")
	if dir == "" {
		return 0
	}
	text, err := os.ReadFile(filepath.Join(dir, "last"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	n, bad := strconv.Atoi(string(text))
	if err = errors.Join(err, bad); err != nil {
		slog.Warn("the last tick's number is lost", "error", err)
		return 0
	}
	return n
}

// keepTick keeps the number. A rename replaces the file as a whole: whoever kills us
// now leaves the old number or the new one.
func keepTick(n int) {
	dir := os.Getenv("STATE_DIRECTORY")
	if dir == "" {
		return
	}
	last := filepath.Join(dir, "last")
	err := os.WriteFile(last+".new", []byte(strconv.Itoa(n)), 0o600)
	if err == nil {
		err = os.Rename(last+".new", last)
	}
	if err != nil {
		slog.Warn("the tick's number is not kept", "error", err)
	}
}
