//go:build !linux

package main

import (
	"os"
	"os/signal"
)

// defaultSignals handles every signal, since only Linux tells which are ignored:
// execve(2) sets a handled one back to its default action. The child keeps our
// caller's mask, but for what Notify unblocks: golang.org/x/sys has
// pthread_sigmask(3) for Linux alone.
func defaultSignals() error {
	signal.Notify(make(chan os.Signal, 1))
	return nil
}
