//go:build linux

package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// daemon ticks into a directory of its own, until SIGTERM or SIGINT asks it to end.
// It then takes the directory away.
func daemon() error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-asked
		os.Exit(0)
	}()
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
		time.Sleep(time.Second)
		if _, err := fmt.Fprintf(ticks, "daemon %d: tick %d\n", os.Getpid(), n); err != nil {
			return err
		}
	}
}
