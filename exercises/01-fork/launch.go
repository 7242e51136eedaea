package main

import (
	"fmt"
	"os"
	"os/exec"
)

// launch starts this program again, as the daemon, and says its pid.
func launch() error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	child := exec.Command(self, "-foreground")
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := child.Start(); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	// A child that ends, and that nobody waits for, is a zombie.
	defer child.Wait()
	if _, err := fmt.Printf("pid %d\n", child.Process.Pid); err != nil {
		// A failed start must not leave a daemon that nobody knows of.
		child.Process.Kill()
		return fmt.Errorf("say the daemon's pid: %w", err)
	}
	return nil
}
