package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// sayReady says that we accept work: to the service manager, and to whoever gave us a
// descriptor for it, as s6 does. All that can fail comes before this.
func sayReady(descriptor int) error {
	if descriptor != 0 {
		mark, err := unix.FcntlInt(uintptr(descriptor), unix.F_GETFD, 0)
		if descriptor < 3 || err != nil || mark != 0 {
			return fmt.Errorf("-ready %d: we were not given that descriptor, or it is below 3", descriptor)
		}
		pipe := os.NewFile(uintptr(descriptor), "readiness")
		defer pipe.Close()
		if _, err := pipe.WriteString("\n"); err != nil {
			return fmt.Errorf("say that the daemon is ready: %w", err)
		}
	}
	if err := tell(ready); err != nil {
		return fmt.Errorf("tell the service manager that the daemon is ready: %w", err)
	}
	return nil
}
