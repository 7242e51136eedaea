//go:build !linux

// Command draw draws the pictures of the lessons from what Linux shows of a run.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "draw: look at the steps: only Linux shows in /proc what there is to draw")
	os.Exit(1)
}
