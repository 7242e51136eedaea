package main

import (
	"fmt"
	"os"
	"time"
)

// daemon ticks, for ever. A real one would serve; this one only has to be seen.
func daemon(every time.Duration) error {
	for n := 1; ; n++ {
		time.Sleep(every)
		// An error is ignored on purpose: the terminal may be gone by now.
		fmt.Printf("daemon %d: tick %d\n", os.Getpid(), n)
	}
}
