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

// daemon ticks into a directory of its own, until SIGTERM or SIGINT asks it to end.
// It then takes the directory away. SIGHUP has it load its configuration again.
func daemon(wait time.Duration) error {
	asked, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	dir, err := os.MkdirTemp("", "daemonsteps-")
	if err != nil {
		return fmt.Errorf("make the daemon's directory: %w", err)
	}
	defer os.RemoveAll(dir)
	ticks, err := os.Create(filepath.Join(dir, "ticks"))
	if err != nil {
		return fmt.Errorf("create the daemon's file: %w", err)
	}
	defer ticks.Close()
	for n := 1; ; n++ {
		say := fmt.Sprintf("tick %d", n)
		select {
		case <-time.After(wait):
		case <-hangup:
			next, err := load()
			if err == nil {
				wait = next
			}
			say = fmt.Sprintf("configuration loaded: %v, error %v", wait, err)
		case <-asked.Done():
			return nil
		}
		if _, err := fmt.Fprintf(ticks, "daemon %d: %s\n", os.Getpid(), say); err != nil {
			return err
		}
	}
}
