//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "step: shows processes from Linux's /proc; on this system run a step by hand: go run ./steps/01-fork")
	os.Exit(1)
}
