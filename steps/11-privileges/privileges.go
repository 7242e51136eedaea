package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// kept are the variables that the daemon gets of its caller's environment, besides
// its own settings. A caller may have any other, with secrets or with settings of
// libraries in it.
var kept = []string{"LANG", "LC_ALL", "PATH", "TMPDIR", "TZ"}

// confine is for the launcher. What it sets here, the daemon has from its birth: a
// reduced environment, no core dumps, which hold all of a process's memory, and no
// way to more rights by starting a set-user-ID program.
func confine(daemon *exec.Cmd) error {
	daemon.Env = []string{}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if slices.Contains(kept, name) || strings.HasPrefix(name, prefix) {
			daemon.Env = append(daemon.Env, variable)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("limit core dumps: %w", err)
	}
	return noNewPrivileges()
}

// servePort serves the status at a TCP address, too: one below 1024 needs root.
func (s *statusServer) servePort(address notEmpty) error {
	if address == "" {
		return nil
	}
	listener, err := net.Listen("tcp", string(address))
	if err != nil {
		return fmt.Errorf("serve the status: %w", err)
	}
	go s.serve(listener)
	return nil
}

// dropPrivileges is called when all is open that needs root. It keeps what is open,
// and leaves no way back. After an error the process is half way, and has to end.
func dropPrivileges(c config, given *flag.FlagSet, root *os.Root) error {
	if c.user == "" && c.chroot == "" {
		return nil
	}
	uid, gid, groups, err := lookUp(string(c.user)) // while /etc/passwd is in sight
	if err != nil {
		return err
	}
	if uid == os.Geteuid() && c.chroot == "" { // We are that user.
		if err := nobodyElse(uid, gid, groups); err != nil {
			return fmt.Errorf("stay user %s: %w", c.user, err)
		}
		return nil
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("-chroot, and -user for another user, need root: this is user %d", os.Geteuid())
	}
	if uid == 0 {
		return errors.New("-user is needed, and not root: no directory holds root")
	}
	if err := giveAway(uid, gid, root); err != nil {
		return fmt.Errorf("give the daemon's files to user %s: %w", c.user, err)
	}
	_, _ = time.Now().Zone() // reads /etc/localtime, also while it is in sight
	if c.chroot != "" {
		logInside, fileInside := inside(c.chroot, log.name), inside(c.chroot, string(c.file))
		if err := syscall.Chroot(string(c.chroot)); err != nil {
			return fmt.Errorf("chroot to %s: %w", c.chroot, err)
		}
		// chroot(2) leaves the working directory, and with it a way out.
		if err := os.Chdir("/"); err != nil {
			return err
		}
		log.name = logInside
		if c.file != "" {
			given.Set("config", fileInside)
		}
	}
	if err := become(uid, gid, groups); err != nil {
		return fmt.Errorf("become user %s: %w", c.user, err)
	}
	return nil
}

// nobodyElse is for a process that is the user already. It lays down capabilities, which
// needs no root. To leave a group or a real user needs it, so there must be none.
func nobodyElse(uid, gid int, groups []int) error {
	if uid == 0 {
		return nil
	}
	have, err := os.Getgroups()
	if err != nil {
		return err
	}
	for _, group := range append(have, os.Getgid(), os.Getegid()) {
		if group != gid && !slices.Contains(groups, group) {
			return fmt.Errorf("we are in group %d, and the user is not", group)
		}
	}
	if os.Getuid() != uid {
		return fmt.Errorf("our real user is %d", os.Getuid())
	}
	if err := layDown(); err != nil {
		return err
	}
	return rootIsGone(uid, gid)
}

// inside returns how a file is called with dir as the root directory, whatever symbolic
// links lead to either. One that is not in dir keeps its name: what dir has by that name,
// if anything, is another file.
func inside(dir path, name string) string {
	in, err := filepath.EvalSymlinks(string(dir))
	of, err2 := filepath.EvalSymlinks(filepath.Dir(name))
	rest, ok := strings.CutPrefix(filepath.Join(of, filepath.Base(name)), in+"/")
	if err != nil || err2 != nil || !ok {
		return name
	}
	return "/" + rest
}
