//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"daemonsteps/internal/proc"
)

// supervised is the first step that has no launcher: a service manager starts it.
const supervised = 12

// readyTime is how long it may take to be ready.
const readyTime = 10 * time.Second

// supervise starts a step as a service manager does, and returns when it says that it is
// ready (sd_notify(3)). Its standard error is the log of this start.
func supervise(ctx context.Context, e entry, program string, args ...string) (l launched, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTime, fmt.Errorf("it was not ready after %v", readyTime))
	defer cancel()
	notify := filepath.Join(e.files(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: notify, Net: "unixgram"})
	if err != nil {
		return l, err
	}
	defer os.Remove(notify)
	defer conn.Close()
	log, err := os.OpenFile(filepath.Join(e.files(), "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return l, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin", "TMPDIR=" + e.dir, "NOTIFY_SOCKET=" + notify}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return l, err
	}
	daemon, err := hold(cmd.Process.Pid)
	if err != nil {
		return l, err
	}
	l.children = []process{daemon}
	l.end, l.endErr = proc.Read(os.Getpid())
	watch, err := hold(cmd.Process.Pid)
	if err != nil {
		return l, err
	}
	go func() { // Its end ends the wait below, as the time does, and our own interruption.
		watch.wait(readyTime)
		watch.release()
		cancel()
	}()
	context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })
	message := make([]byte, 4096)
	for {
		n, err := conn.Read(message)
		if ended, _ := daemon.wait(0); ended {
			text, _ := os.ReadFile(log.Name())
			cmd.Wait()
			return l, fmt.Errorf("the daemon ended with %v before it was ready, and said: %s", cmd.ProcessState, strings.TrimSpace(string(text)))
		}
		if err != nil {
			return l, errors.Join(context.Cause(ctx), err)
		}
		if strings.HasPrefix(string(message[:n]), "READY=1") {
			return l, say(fmt.Sprintf("pid %d\n", daemon.pid)) // as a launcher does
		}
	}
}
