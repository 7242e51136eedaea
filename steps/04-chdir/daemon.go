package main

import (
	"fmt"
	"os"
	"time"
)

// daemon ticks, for ever. A real one would serve; this one only has to be seen.
func daemon(every time.Duration, dir string) error {
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	ticks, err := root.OpenFile("ticks", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("create the file in %s: %w", dir, err)
	}
	for n := 1; ; n++ {
		time.Sleep(every)
		_, err := fmt.Fprintf(ticks, "daemon %d: tick %d\n", os.Getpid(), n)
		if err != nil {
			return err
		}
	}
}
