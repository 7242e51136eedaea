//go:build !linux

// Command isdaemon judges any program as a daemon, by what Linux shows of it.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "isdaemon: judge a daemon: only Linux shows in /proc what there is to judge")
	os.Exit(2)
}
