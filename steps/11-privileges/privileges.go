package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
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
func (s *statusServer) servePort(address string) error {
	if address == "" {
		return nil
	}
	listener, err := net.Listen("tcp", address)
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
	uid, gid, groups, err := lookUp(c.user) // while /etc/passwd is in sight
	if err != nil || uid == os.Geteuid() && c.chroot == "" {
		return err // or we are that user
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("become user %s: only root can, and this is user %d", c.user, os.Geteuid())
	}
	if uid == 0 {
		return errors.New("-user is needed, and not root: no directory holds root")
	}
	if err := giveAway(uid, gid, root); err != nil {
		return fmt.Errorf("give the daemon's files to user %s: %w", c.user, err)
	}
	if c.chroot != "" {
		if err := syscall.Chroot(string(c.chroot)); err != nil {
			return fmt.Errorf("chroot to %s: %w", c.chroot, err)
		}
		// chroot(2) leaves the working directory, and with it a way out.
		if err := os.Chdir("/"); err != nil {
			return err
		}
		log.name = inside(c.chroot, log.name)
		given.Set("config", inside(c.chroot, string(c.file)))
	}
	// In this order: a user may not change its groups. Go does it for all threads.
	if err := errors.Join(syscall.Setgroups(groups), syscall.Setgid(gid), syscall.Setuid(uid)); err != nil {
		return fmt.Errorf("become user %s: %w", c.user, err)
	}
	if syscall.Setuid(0) == nil || syscall.Setgid(0) == nil {
		return fmt.Errorf("become user %s: root can be had back", c.user)
	}
	return nil
}

// giveAway gives what the daemon goes on using by name to the user: its directory with
// the socket in it, and the log. Not the PID file: root ends what it names.
func giveAway(uid, gid int, root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	err = os.Lchown(filepath.Join(root.Name(), "status"), uid, gid)
	if log.name != "" {
		err = errors.Join(err, log.file.Chown(uid, gid))
	}
	return errors.Join(err, dir.Chown(uid, gid))
}

// inside returns how a file is called with dir as the root directory. One that is not
// in dir keeps its name, and will not be found by it.
func inside(dir path, name string) string {
	if rest, ok := strings.CutPrefix(name, strings.TrimRight(string(dir), "/")+"/"); ok {
		return "/" + rest
	}
	return name
}

// lookUp returns the numbers of a user, who is given by name or number, or of root.
func lookUp(name string) (uid, gid int, groups []int, err error) {
	if name == "" {
		return 0, 0, nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return 0, 0, nil, fmt.Errorf("look up user %s: %w", name, err)
	}
	ids, err := u.GroupIds()
	for _, id := range append([]string{u.Uid, u.Gid}, ids...) {
		n, err2 := strconv.Atoi(id)
		err = errors.Join(err, err2)
		groups = append(groups, n)
	}
	return groups[0], groups[1], groups[2:], err
}
