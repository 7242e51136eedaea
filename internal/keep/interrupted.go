package keep

import (
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// RemoveIfInterrupted has SIGINT, SIGTERM and SIGHUP call first, remove dir and what
// Temporary returns, and end this process with status 1. A signal that is ignored, as by
// nohup(1), stays so.
//
// first ends what may still write in dir. If another process does that when this one
// ends, a file can come while its directory is emptied: so there is more than one try.
func RemoveIfInterrupted(dir string, first func()) {
	asked := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			signal.Notify(asked, sig)
		}
	}
	go func() {
		<-asked
		first()
		for _, dir := range append(Temporary(), dir) {
			for range 100 {
				if os.RemoveAll(dir) == nil {
					break
				}
				// A test may have made a directory in which nobody may write.
				filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
					if entry != nil && entry.IsDir() {
						os.Chmod(path, 0o700)
					}
					return nil
				})
			}
		}
		os.Exit(1)
	}()
}
