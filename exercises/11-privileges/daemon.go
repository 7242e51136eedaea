//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// daemon ticks into a log in a directory of its own, until SIGTERM or SIGINT asks it
// to end. It then takes the directory away. SIGHUP says that the log was renamed.
func daemon(every time.Duration, tmp string) error {
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	dir, err := os.MkdirTemp(tmp, "daemonsteps-")
	if err != nil {
		return fmt.Errorf("make the daemon's directory: %w", err)
	}
	defer os.RemoveAll(dir)
	log, err := openLog(dir)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		select {
		case <-time.After(every):
			// An error is ignored on purpose: a full disk must not end the daemon.
			fmt.Fprintf(log, "daemon %d: tick %d\n", os.Getpid(), n)
		case <-hangup:
			// If that fails, the renamed log stays in use.
			if next, err := openLog(dir); err == nil {
				log.Close()
				log = next
			}
		case <-asked.Done():
			return nil
		}
	}
}

// openLog opens the log, and makes it if it is not there.
func openLog(dir string) (*os.File, error) {
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	return log, nil
}
