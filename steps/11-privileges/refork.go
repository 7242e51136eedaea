package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// leadSession starts this program a second time, as the leader of a session of its
// own. The leader launches the daemon in that session, and ends when it is ready. So
// the daemon leads no session: and only a leader gets a controlling terminal when it
// opens one (open(2), O_NOCTTY). A C program would call fork(2) twice.
//
// The leader has our standard output and error for as long as it lives. It says the
// daemon's pid there, or what went wrong, and its status is ours.
func leadSession(args []string, wait time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	// A ^C does not reach another session, so we pass it on: without a leader the
	// daemon does not get ready.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	leader := exec.CommandContext(ctx, self, append([]string{"-leader"}, args...)...)
	leader.Stdout, leader.Stderr = os.Stdout, os.Stderr
	leader.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := leader.Start(); err != nil {
		return fmt.Errorf("start the session's leader: %w", err)
	}
	// Should it hang itself, we end it, and the daemon, which is in its process group.
	time.AfterFunc(wait+time.Second, func() { syscall.Kill(-leader.Process.Pid, syscall.SIGKILL) })
	err = leader.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.Exited() {
		os.Exit(ended.ExitCode()) // It has said why.
	}
	if err != nil {
		return fmt.Errorf("start the daemon: the session's leader: %w", err)
	}
	return nil
}
