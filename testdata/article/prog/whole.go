//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// whole is the article's daemon.
func whole() {
	left, err := strconv.Atoi(os.Getenv("GENERATIONS"))
	if err != nil {
		left = 2000
	}
	trace()
	switch os.Getenv("LINES") {
	case "first":
		first(left)
	case "all":
		all(left)
	default:
		second(left)
	}
	if path := os.Getenv("CONFIG"); path != "" {
		_, err := os.ReadFile(path)
		check(err)
	}
	if os.Getenv("TERMINAL") != "" {
		check(openTerminal())
	}
	untilSignal()
}

// openTerminal makes a new terminal and opens it, as one opens any file (pty(7)).
func openTerminal() error {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return err
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	terminal, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR, 0)
	opened = append(opened, master, terminal)
	return err
}

// opened are files that stay open: the runtime closes one that nothing leads to.
var opened []*os.File

// first is the first snippet. Nothing in it ends the chain; left does, here.
func first(left int) {
	if left == 0 {
		return
	}
	startAgain(left)
	os.Exit(0)
}

// second is what the later snippets add: the umask, the question who the parent is,
// and, behind the exit, everything else.
func second(left int) {
	syscall.Umask(0)
	if os.Getppid() == 1 || left == 0 {
		return
	}
	startAgain(left)
	os.Exit(0)

	leaveTerminal()
	useDirectory()
}

// all is second with its last lines in a place where they are reached.
func all(left int) {
	syscall.Umask(0)
	if left > 0 {
		startAgain(left)
		os.Exit(0)
	}
	cold := os.Getenv("COLD") != ""
	if !cold {
		os.ReadFile(os.DevNull) // As if it had loaded something already.
	}
	leaveTerminal()
	useDirectory()
	// The first timer that the process waits for ends it. One that is past before the
	// process could wait, on a busy machine, does not: so there is always another.
	for cold {
		time.Sleep(time.Millisecond)
	}
}

// startAgain starts this program once more: by the name that it was given, without its
// arguments, and with no look at the error.
func startAgain(left int) {
	os.Setenv("GENERATIONS", strconv.Itoa(left-1))
	stay := os.Getenv("STAY") != ""
	os.Unsetenv("STAY")
	child := exec.Command(os.Args[0])
	child.Start()
	if stay {
		child.Wait()
	}
}

// leaveTerminal leads a session of its own, and closes the standard files.
func leaveTerminal() {
	if _, err := syscall.Setsid(); err != nil {
		fmt.Fprintln(os.Stderr, "article: setsid:", err)
		os.Exit(1)
	}
	for fd := range 3 {
		syscall.Close(fd)
	}
}

// useDirectory makes a directory and puts it in the place of the standard files.
func useDirectory() {
	os.Chdir("/")
	dir, _ := os.MkdirTemp("", "")
	f, _ := os.Open(dir)
	for fd := range 3 {
		if fd != int(f.Fd()) {
			syscall.Dup3(int(f.Fd()), fd, 0) // Dup2 is not there on arm64.
		}
	}
}

// untilSignal waits for SIGTERM or SIGINT, and ends the process.
func untilSignal() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-c
		os.Exit(0)
	}()
	select {}
}

// trace adds a line to $TRACE. It goes through no os.File, which would have the
// runtime open descriptors of its own.
func trace() {
	path := os.Getenv("TRACE")
	if path == "" {
		return
	}
	fd, err := syscall.Open(path, syscall.O_CREAT|syscall.O_WRONLY|syscall.O_APPEND, 0o666)
	check(err)
	syscall.Write(fd, []byte("started\n"))
	syscall.Close(fd)
}
