package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
)

// closeInherited sees to it that no descriptor from 3 upwards, which whoever
// started us may have left open, reaches a program that we start.
//
// Go marks all that it opens itself close-on-exec (O_CLOEXEC, open(2)), but
// what a program inherits without that mark it hands on (golang/go#37857).
// To close them here, in a running Go program, would be wrong: some belong to
// the runtime. The mark lets the kernel close them at the next execve(2).
func closeInherited() error {
	open, err := os.ReadDir("/dev/fd") // fd(4): one name for each open descriptor
	if err != nil {
		return fmt.Errorf("list the open descriptors: %w", err)
	}
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd >= 3 {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}
