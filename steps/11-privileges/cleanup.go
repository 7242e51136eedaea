package main

import (
	"fmt"
	"os"
	"time"
)

// grace is how long the clean-up may take. Whoever sends SIGTERM waits a few
// seconds and then sends SIGKILL; it is better to be done before that.
const grace = 3 * time.Second

// endWithin ends the process with status 1 if it is still there after d. A
// clean-up can hang: on a network file system, or on a peer that does not answer.
func endWithin(d time.Duration) {
	time.AfterFunc(d, func() {
		fmt.Fprintf(os.Stderr, "end the daemon: clean-up not done after %v\n", d)
		os.Exit(1)
	})
}

// undo runs one part of the clean-up. Its error counts if it is the first one:
// status 0 is for a daemon that left nothing behind.
func undo(err *error, part func() error) {
	if e := part(); e != nil && *err == nil {
		*err = e
	}
}
