//go:build linux

package main

import (
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
)

// as becomes the article's daemon, with another name as argument 0.
func as(args []string) error {
	return syscall.Exec("/proc/self/exe", args[:1], os.Environ())
}

// chroot has another root directory, as an ordinary user.
func chroot(args []string) error {
	if os.Geteuid() == 0 {
		if err := syscall.Setuid(65534); err != nil {
			return err
		}
	}
	if err := syscall.Chroot(args[0]); err != nil {
		return fmt.Errorf("chroot: %w", err)
	}
	return nil
}

// setsid leads a session of its own, or says why it may not.
func setsid([]string) error {
	if _, err := syscall.Setsid(); err != nil {
		return fmt.Errorf("setsid: %w", err)
	}
	untilSignal()
	return nil
}

// closeStandardFiles closes 0, 1 and 2, opens files, and logs a line. With "warm" it
// has opened a file before.
func closeStandardFiles(args []string) error {
	dir := os.TempDir()
	if args[0] == "warm" {
		os.ReadFile(os.DevNull)
	}
	for fd := range 3 {
		syscall.Close(fd)
	}
	for _, name := range []string{"first", "second", "third"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer f.Close()
	}
	log.Print("this line was meant for standard error")
	untilSignal()
	return nil
}

// directoryAsStandardFiles puts a directory in the place of 0, 1 and 2, and says, where
// standard output was, what writing and reading come to.
func directoryAsStandardFiles([]string) error {
	out, err := syscall.Dup(1)
	if err != nil {
		return err
	}
	dir, err := os.Open(os.TempDir())
	if err != nil {
		return err
	}
	for fd := range 3 {
		if err := syscall.Dup3(int(dir.Fd()), fd, 0); err != nil {
			return err
		}
	}
	_, written := os.Stdout.WriteString("text")
	_, read := os.Stdin.Read(make([]byte, 1))
	_, err = fmt.Fprintf(os.NewFile(uintptr(out), "stdout"), "%v\n%v\n", written, read)
	return err
}

// fork is what a C program calls. The child can do nothing but system calls: it waits
// for its end. What there is of threads stands in /proc.
func fork([]string) error {
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	for pid == 0 {
		syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
	}
	ours, err := threads(os.Getpid())
	theirs, err2 := threads(int(pid))
	syscall.Kill(int(pid), syscall.SIGKILL)
	_, err3 := syscall.Wait4(int(pid), nil, 0, nil)
	if err := errors.Join(err, err2, err3); err != nil {
		return err
	}
	_, err = fmt.Printf("threads: %s, and after the fork %s\n", ours, theirs)
	return err
}

// threads returns how many threads a process has, by proc_pid_status(5).
func threads(pid int) (string, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^Threads:\t(\d+)$`).FindSubmatch(status)
	if m == nil {
		return "", errors.New("no Threads in /proc")
	}
	return string(m[1]), nil
}

// umask makes a file, a directory and a socket with the modes that Go asks for.
func umask([]string) error {
	syscall.Umask(0)
	in := func(name string) string { return filepath.Join(os.TempDir(), name) }
	_, err := os.Create(in("file"))
	if err != nil {
		return err
	}
	if err := os.Mkdir(in("dir"), 0o777); err != nil {
		return err
	}
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: in("socket")}); err != nil {
		return err
	}
	untilSignal()
	return nil
}

// signals ends as the article's daemon does: a goroutine waits for the signal, cleans
// up, and ends the process. "of-main" is a file that main is to remove, "of-goroutine"
// one that the clean-up removes. With "hangs" the clean-up does not come back; with
// "races" main works on meanwhile.
func signals(args []string) error {
	how := ""
	if len(args) > 0 {
		how = args[0]
	}
	main, goroutine := filepath.Join(os.TempDir(), "of-main"), filepath.Join(os.TempDir(), "of-goroutine")
	if err := os.WriteFile(main, nil, 0o600); err != nil {
		return err
	}
	defer os.Remove(main)
	worked := make(chan struct{})
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-c
		switch how {
		case "hangs":
			select {}
		case "races":
			os.Remove(goroutine)
			<-worked // What main did before.
			<-worked // What main has done since.
		default:
			os.Remove(goroutine)
		}
		os.Exit(0)
	}()
	for {
		if err := os.WriteFile(goroutine, nil, 0o600); err != nil {
			return err
		}
		worked <- struct{}{}
	}
}

// notify sends itself a signal while nobody receives from the channel that is to get
// it, and says whether it is there afterwards. The argument is the channel's buffer.
func notify(args []string) error {
	buffer, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	c := make(chan os.Signal, buffer)
	signal.Notify(c, syscall.SIGTERM)
	other := make(chan os.Signal, 1)
	signal.Notify(other, syscall.SIGTERM)
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		return err
	}
	// The signal is being handed out to both channels, and Stop waits until that is done.
	<-other
	signal.Stop(c)
	select {
	case <-c:
		fmt.Println("kept")
	default:
		fmt.Println("lost")
	}
	return nil
}

// reboot starts this program as process 1 of a PID namespace, in which it starts the
// command args and reboots (initOfNamespace). It says how process 1 ended.
func reboot(args []string) error {
	init := exec.Command("/proc/self/exe", append([]string{"init"}, args...)...)
	init.Stdout, init.Stderr = os.Stdout, os.Stderr
	init.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWPID | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	err := init.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("start process 1: %v", err)
	}
	_, err = fmt.Println("process 1 ended:", exit)
	return err
}

// initOfNamespace is process 1 of a PID namespace. It starts a daemon, which becomes
// its child, and reboots. In a PID namespace, reboot(2) means the end of process 1,
// and the kernel then ends every other process of the namespace.
func initOfNamespace(args []string) error {
	if os.Getpid() != 1 {
		return errors.New("this is not process 1")
	}
	out, err := exec.Command(args[0], args[1:]...).Output()
	if err != nil {
		return err
	}
	var pid int
	if _, err := fmt.Sscanf(string(out), "pid %d\n", &pid); err != nil {
		return err
	}
	// Only its parent can ask, and only of a child that lives is the answer 0.
	if ended, err := syscall.Wait4(pid, nil, syscall.WNOHANG, nil); ended != 0 || err != nil {
		return fmt.Errorf("the daemon is no child that lives: %d, %v", ended, err)
	}
	fmt.Println("process 1 has a daemon")
	return syscall.Reboot(syscall.LINUX_REBOOT_CMD_RESTART)
}
