// Package keep builds programs for the tests, and keeps them as the go command keeps
// what it compiles: in bin/tests, which make clean removes, by a hash of all that went
// into them.
package keep

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
)

// Go runs go build in dir. What it builds has no C in it, and starts in two thirds of
// the time.
func Go(dir string, args ...string) error {
	cmd := exec.Command("go", append([]string{"build", "-buildvcs=false"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", cmd.Args, err, out)
	}
	return nil
}

// Build returns bin/tests/HASH/name below the repository's root, where the hash is
// that of the sources. build makes it at path if it is not there; tmp is a directory
// for whatever else it needs.
func Build(root, name string, sources []string, build func(path, tmp string) error) (string, error) {
	hash := sha256.New()
	fmt.Fprintln(hash, runtime.Version(), runtime.GOARCH, os.Getenv("GOFLAGS"))
	for _, path := range sources {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(hash, filepath.Base(path), len(text))
		hash.Write(text)
	}
	in, err := place(root)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(in, fmt.Sprintf("%x", hash.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return filepath.Join(dir, name), nil
	}
	// Two may make the same at once. A rename puts the whole of one there.
	tmp, err := os.MkdirTemp(in, "tmp-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	if err := build(filepath.Join(tmp, name), tmp); err != nil {
		return "", err
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, syscall.EEXIST) && !errors.Is(err, syscall.ENOTEMPTY) {
		return "", err
	}
	return filepath.Join(dir, name), nil
}

// LabHelper returns the path of the program for lab.Helper.
func LabHelper(root string) (string, error) {
	root, err := filepath.Abs(root) // go build runs in it.
	if err != nil {
		return "", err
	}
	var sources []string
	for _, pattern := range []string{"go.*", "internal/lab/*.go", "internal/lab/helper/*.go", "internal/proc/*.go"} {
		paths, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil {
			return "", err
		}
		sources = append(sources, paths...)
	}
	return Build(root, "lab-helper", sources, func(path, _ string) error {
		return Go(root, "-o", path, "./internal/lab/helper")
	})
}

var (
	mu        sync.Mutex
	temporary = map[string]string{} // by root
)

// place returns root/bin/tests, or another directory if that cannot be written.
func place(root string) (string, error) {
	mu.Lock()
	defer mu.Unlock()
	if dir, ok := temporary[root]; ok {
		return dir, nil
	}
	dir := filepath.Join(root, "bin", "tests")
	const writable = 2 // W_OK of access(2)
	if err := os.MkdirAll(dir, 0o755); err == nil && syscall.Access(dir, writable) == nil {
		return dir, nil
	}
	dir, err := os.MkdirTemp("", "daemonsteps-bin-")
	if err == nil {
		temporary[root] = dir
	}
	return dir, err
}

// Temporary returns the directories that were used in place of bin/tests. Whoever
// calls Build removes them at the end.
func Temporary() (dirs []string) {
	mu.Lock()
	defer mu.Unlock()
	for _, dir := range temporary {
		dirs = append(dirs, dir)
	}
	return dirs
}
