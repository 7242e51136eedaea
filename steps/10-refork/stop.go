package main

import (
	"fmt"
	"time"
)

// stopTime is how long a daemon may take to end: longer than its own grace.
const stopTime = 10 * time.Second

// daemonOf returns the pid of the daemon that holds the PID file. Any program of our
// user's can lock a file; but if its text names the holder as well, the daemon wrote it.
func daemonOf(c config) (pid int, err error) {
	f, err := openPIDFile(c, 0)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	pid = holder(f)
	if pid <= 0 {
		return 0, fmt.Errorf("no process that we can see holds %s", c.pid)
	}
	named := 0
	if fmt.Fscan(f, &named); named != pid {
		return 0, fmt.Errorf("process %d holds %s, which does not name it: it starts or ends, or is no daemon", pid, c.pid)
	}
	return pid, nil
}
