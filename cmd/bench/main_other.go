//go:build !linux

// Command bench measures what a start of the steps costs, on Linux.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: look at the steps: only Linux shows in /proc what there is to measure")
	os.Exit(1)
}
