package main

import (
	"fmt"
	"os"
	"path/filepath"
)

// privateDir makes a new directory in $TMPDIR, or else in /tmp, that only its
// owner may list, enter and write (mode 0700), and returns its absolute path.
// A relative path would lead elsewhere once the working directory is /.
func privateDir() (string, error) {
	dir, err := realPath(os.TempDir())
	if err == nil {
		dir, err = os.MkdirTemp(dir, "daemonsteps-")
	}
	if err != nil {
		return "", fmt.Errorf("make the daemon's directory: %w", err)
	}
	return dir, nil
}

// openDir opens dir, or a new private directory if dir is "". From then on names
// are looked up below it: neither "../name" nor a symbolic link leads out, and
// nobody can put another directory in its place (openat(2)).
func openDir(dir string) (*os.Root, error) {
	if dir == "" {
		var err error
		if dir, err = privateDir(); err != nil {
			return nil, err
		}
	}
	dir, err := realPath(dir)
	if err != nil {
		return nil, fmt.Errorf("find the daemon's directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the daemon's directory: %w", err)
	}
	return root, nil
}

// realPath returns the absolute name of a directory, with no symbolic link in it. It can
// be removed by this name: rmdir(2) takes neither a link nor ".".
func realPath(dir string) (string, error) {
	if !filepath.IsAbs(dir) {
		wd, err := os.Getwd() // $PWD, if that leads here: it may have links in it
		if err != nil {
			return "", err
		}
		dir = wd + "/" + dir // filepath.Join would take "link/.." for nothing.
	}
	return filepath.EvalSymlinks(dir)
}
