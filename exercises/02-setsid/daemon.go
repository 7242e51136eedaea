package main

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// daemon ticks, for ever, in a session of its own.
func daemon() error {
	// EPERM says that this process leads its process group. So it is if a shell or
	// an init has started it with -foreground: then it stays where it is.
	if _, err := syscall.Setsid(); err != nil && !errors.Is(err, syscall.EPERM) {
		return fmt.Errorf("leave the terminal's session: %w", err)
	}
	for n := 1; ; n++ {
		time.Sleep(time.Second)
		// An error is ignored on purpose: the terminal may be gone by now.
		fmt.Printf("daemon %d: tick %d\n", os.Getpid(), n)
	}
}
