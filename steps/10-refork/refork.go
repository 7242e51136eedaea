package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// leadSession starts this program a second time, as the leader of a session of its
// own. The leader launches the daemon in that session, and ends when it is ready. So
// the daemon leads no session: and only a leader gets a controlling terminal when it
// opens one (open(2), O_NOCTTY). A C program would call fork(2) twice.
//
// We wait for the leader as it waits for the daemon: a pipe tells us that the daemon is
// ready, or why it is not, and the leader's status is the daemon's.
func leadSession(args []string, wait time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	leader := exec.Command(self, append([]string{"-leader"}, args...)...)
	leader.Stdout = os.Stdout // It says the daemon's pid there.
	leader.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := startReady(leader); err != nil {
		return fmt.Errorf("start the session's leader: %w", err)
	}
	err = awaitReady(wait + grace) // It gives up before us, and says more.
	if err == nil {
		leader.Wait() // It ends now. Whatever its status, the daemon is ready.
		return nil
	}
	// The leader ends the daemon, and clears up. If it was killed, a ready daemon knows of
	// nothing: so all of its process group are asked, and should they hang, are ended. The
	// group's number is nobody else's before we have waited for the leader.
	syscall.Kill(-leader.Process.Pid, syscall.SIGTERM)
	hung := time.AfterFunc(grace, func() { syscall.Kill(-leader.Process.Pid, syscall.SIGKILL) })
	leader.Wait()
	hung.Stop()
	return startError{err, leader.ProcessState}
}
