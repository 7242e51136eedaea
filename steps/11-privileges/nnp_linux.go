package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// noNewPrivileges sets PR_SET_NO_NEW_PRIVS (prctl(2)). It is this thread's, and what is
// started from it inherits it: unblockSignals has bound us to one thread.
func noNewPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("forgo new privileges: %w", err)
	}
	return nil
}
