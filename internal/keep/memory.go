//go:build linux

package keep

import (
	"os"

	"golang.org/x/sys/unix"
)

// memory is where most systems have a file system in memory that anybody may use.
const memory = "/dev/shm"

// room is how much of it must be free. The tests use less than half.
const room = 1 << 30

// InMemory has the tests make their files in memory, unless TMPDIR is set. They make
// and remove some ten thousand, and on a disk with ext4 that takes a third of their
// time: it looks long for an inode that was not in use a moment ago. Nothing changes
// where there is no such file system, or programs cannot be started from it.
func InMemory() {
	if os.Getenv("TMPDIR") != "" {
		return
	}
	var fs unix.Statfs_t
	if unix.Statfs(memory, &fs) != nil || fs.Type != unix.TMPFS_MAGIC || fs.Flags&unix.ST_NOEXEC != 0 ||
		fs.Bavail*uint64(fs.Bsize) < room || unix.Access(memory, unix.W_OK|unix.X_OK) != nil {
		return
	}
	os.Setenv("TMPDIR", memory)
}
