//go:build linux

package main

import (
	"io"
	"os"
	"os/exec"
	"time"
)

// readyTime is how long the daemon may take until it is ready.
const readyTime = 10 * time.Second

// startWithPipe starts the daemon. Until it is ready, a pipe joins it to us: our end is
// returned, and it knows its own by -ready.
func startWithPipe(daemon *exec.Cmd) (*os.File, error) {
	ours, its, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer its.Close() // Ours alone would keep the pipe from coming to its end.
	daemon.ExtraFiles = []*os.File{its}
	daemon.Args = append(daemon.Args, "-ready", "3") // ExtraFiles begin with 3.
	return ours, daemon.Start()
}

// awaitReady is for the launcher. It reads what the daemon says when it is ready.
func awaitReady(pipe *os.File) error {
	pipe.SetReadDeadline(time.Now().Add(readyTime))
	_, err := io.ReadAll(pipe)
	return err
}

// sayReady is for the daemon. It writes an empty line into the pipe, if there is one.
func sayReady(fd int) error {
	if fd == 0 {
		return nil
	}
	pipe := os.NewFile(uintptr(fd), "launcher")
	defer pipe.Close()
	_, err := pipe.WriteString("\n")
	return err
}
