package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A notEmpty is a word that says something. An empty -user, as of -user "$UNSET", would
// leave root as it is.
type notEmpty string

func (n *notEmpty) String() string { return string(*n) }

func (n *notEmpty) Set(s string) error {
	if s == "" {
		return errors.New("it is empty")
	}
	*n = notEmpty(s)
	return nil
}

// lookUp returns the numbers of a user, who is given by name or number, or of root.
func lookUp(name string) (uid, gid int, groups []int, err error) {
	if name == "" {
		return 0, 0, nil, nil
	}
	// Package os/user believes $USER, if /etc/passwd does not say who we are.
	os.Unsetenv("USER")
	u, err := user.Lookup(name)
	if number, e := user.LookupId(name); err != nil && e == nil {
		u, err = number, nil
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

// giveAway gives what the daemon goes on using by name to the user: its directory with
// the socket in it, and the log. Not the PID file: root ends what it names.
func giveAway(uid, gid int, root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	var st unix.Stat_t
	if log.name != "" {
		err = unix.Fstat(int(log.file.Fd()), &st)
		// Whoever may write in one of its directories can have put another file or directory
		// there, and have taken it away again.
		named, err2 := lstat(log.name)
		if err2 != nil {
			return fmt.Errorf("%s: %w: no symbolic link may lead to it", log.name, err2)
		}
		if named.Dev != st.Dev || named.Ino != st.Ino {
			st.Nlink = 0
		}
		if err == nil && (st.Nlink != 1 || st.Uid != 0 && int(st.Uid) != uid) {
			err = fmt.Errorf("%s is another user's, or has a second name, or none", log.name)
		}
		if err == nil {
			err = log.file.Chown(uid, gid)
		}
	}
	if err == nil {
		err = unix.Fchownat(int(dir.Fd()), "status", uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err == nil {
		err = dir.Chown(uid, gid)
	}
	return err
}

// lstat is lstat(2) for an absolute name, but follows no link in any part of it.
func lstat(name string) (st unix.Stat_t, err error) {
	parts := strings.Split(name, "/") // The first is empty.
	dir, err := unix.Open("/", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for _, part := range parts[1 : len(parts)-1] {
		if err != nil {
			return st, err
		}
		up := dir
		dir, err = unix.Openat(up, part, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		unix.Close(up)
	}
	if err != nil {
		return st, err
	}
	defer unix.Close(dir)
	err = unix.Fstatat(dir, filepath.Base(name), &st, unix.AT_SYMLINK_NOFOLLOW)
	return st, err
}

// become makes us the user, for good: of the real, the effective and the saved user ID
// none stays root's. In this order: a user may not change its groups.
//
// Each thread has IDs of its own. Package syscall sees to all that Go has started.
func become(uid, gid int, groups []int) error {
	err := os.NewSyscallError("setgroups", syscall.Setgroups(groups))
	if err == nil {
		err = os.NewSyscallError("setgid", syscall.Setgid(gid))
	}
	if err == nil {
		err = os.NewSyscallError("setuid", syscall.Setuid(uid))
	}
	if err == nil {
		err = rootIsGone(uid, gid)
	}
	return err
}

// rootIsGone tries to become root again. That must fail.
func rootIsGone(uid, gid int) error {
	if uid != 0 && (syscall.Setuid(0) == nil || gid != 0 && syscall.Setgid(0) == nil) {
		return errors.New("root can be had back")
	}
	return nil
}
