package main

import (
	"fmt"
	"os"
	"time"
)

// daemon ticks, for ever. The launcher has opened a file as its standard output.
func daemon() error {
	for n := 1; ; n++ {
		time.Sleep(time.Second)
		if _, err := fmt.Printf("daemon %d: tick %d\n", os.Getpid(), n); err != nil {
			return err
		}
	}
}
