//go:build linux

// Helper is a lab's guardian and shell, and nothing else. Each lab starts two
// processes of it. A test binary could be both, but has so much else in it that it
// takes three times as long to start.
package main

import "daemonsteps/internal/lab"

func main() { lab.Main() }
