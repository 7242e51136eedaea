package main

import (
	"fmt"
	"os"
	"time"
)

// daemon ticks, for ever.
func daemon() error {
	for n := 1; ; n++ {
		time.Sleep(time.Second)
		// An error is ignored on purpose: the terminal may be gone by now.
		fmt.Printf("daemon %d: tick %d\n", os.Getpid(), n)
	}
}
