//go:build linux

package boot

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"daemonsteps/internal/lab"

	"golang.org/x/sys/unix"
)

const systemd = "/usr/lib/systemd/systemd"

// initMain makes the new namespaces a machine, and becomes its systemd. It only returns
// with an error.
func initMain() int {
	err := becomeInit(os.Args[1], os.Args[2])
	fmt.Fprintln(os.Stderr, "boot:", err)
	return 1
}

// A mount is a line of what the machine's file systems are.
type mount struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

func becomeInit(dir, bootID string) error {
	// The cgroup namespace, the capabilities and systemd itself are this thread's.
	runtime.LockOSThread()
	lab.DefaultOfCLibrary() // systemd hands on what make(1) has it ignore.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("unshare the cgroup namespace: %w", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root := filepath.Join(dir, "root")
	id := filepath.Join(dir, "boot_id")
	if err := os.WriteFile(id, []byte(bootID+"\n"), 0o444); err != nil {
		return err
	}
	const guarded = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	mounts := []mount{
		{root, root, "", unix.MS_BIND, ""},
		{"/usr", "usr", "", unix.MS_BIND | unix.MS_REC, ""},
		{"", "usr", "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY, ""},
		{filepath.Join(dir, "local"), "usr/local", "", unix.MS_BIND, ""},
		{"proc", "proc", "proc", guarded, ""},
		// No setting of this machine reaches the one around it.
		{"proc/sys", "proc/sys", "", unix.MS_BIND, ""},
		{"", "proc/sys", "", unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY, ""},
		{"/dev/null", "proc/sysrq-trigger", "", unix.MS_BIND, ""},
		// The kernel has been booted once. The machine has an ID for each of its boots.
		{id, "proc/sys/kernel/random/boot_id", "", unix.MS_BIND, ""},
		{"sysfs", "sys", "sysfs", guarded | unix.MS_RDONLY, ""},
		{"cgroup2", "sys/fs/cgroup", "cgroup2", guarded, ""},
		{"tmpfs", "dev", "tmpfs", unix.MS_NOSUID, "mode=755"},
		{"tmpfs", "run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
		{"tmpfs", "tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	}
	for _, m := range mounts {
		err := m.in(root)
		if errors.Is(err, os.ErrNotExist) && m.target == "proc/sysrq-trigger" {
			continue // This kernel has none.
		}
		if err != nil {
			return err
		}
	}
	if err := devices(root); err != nil {
		return err
	}
	if err := notifyHost(dir, root); err != nil {
		return err
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil { // The old root is on top of the new one now.
		return fmt.Errorf("pivot the root to %s: %w", root, err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// Modules, raw I/O, the clock and the kernel's log have no namespace.
	for _, capability := range []uintptr{unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO, unix.CAP_SYS_TIME, unix.CAP_SYSLOG} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	syscall.Umask(0o022)
	// "container" has systemd leave alone what only a real machine has
	// (systemd.io/CONTAINER_INTERFACE), and NOTIFY_SOCKET has it say when it is up.
	env := []string{"container=daemonsteps", "PATH=/usr/sbin:/usr/bin", "NOTIFY_SOCKET=/run/host/notify"}
	return fmt.Errorf("execve %s: %w", systemd, syscall.Exec(systemd, []string{systemd}, env))
}

// in mounts it, with names that are not absolute below root.
func (m mount) in(root string) error {
	target := m.target
	if !filepath.IsAbs(target) {
		target = filepath.Join(root, target)
	}
	source := m.source
	if strings.Contains(source, "/") && !filepath.IsAbs(source) {
		source = filepath.Join(root, source)
	}
	if err := unix.Mount(source, target, m.fstype, m.flags, m.data); err != nil {
		return &os.PathError{Op: "mount", Path: target, Err: err}
	}
	return nil
}

func devices(root string) error {
	dev := filepath.Join(root, "dev")
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := os.WriteFile(filepath.Join(dev, name), nil, 0o666); err != nil {
			return err
		}
		if err := (mount{"/dev/" + name, "dev/" + name, "", unix.MS_BIND, ""}).in(root); err != nil {
			return err
		}
	}
	for _, dir := range []string{"pts", "shm"} {
		if err := os.Mkdir(filepath.Join(dev, dir), 0o755); err != nil {
			return err
		}
	}
	for _, m := range []mount{
		{"devpts", "dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5"},
		{"tmpfs", "dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	} {
		if err := m.in(root); err != nil {
			return err
		}
	}
	for link, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd"} {
		if err := os.Symlink(to, filepath.Join(dev, link)); err != nil {
			return err
		}
	}
	return nil
}

// notifyHost puts the System's socket where the machine's systemd finds it.
func notifyHost(dir, root string) error {
	if err := os.Mkdir(filepath.Join(root, "run/host"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "run/host/notify"), nil, 0o600); err != nil {
		return err
	}
	return mount{filepath.Join(dir, "notify"), "run/host/notify", "", unix.MS_BIND, ""}.in(root)
}
