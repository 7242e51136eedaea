//go:build !linux

package main

// unblockSignals does nothing: golang.org/x/sys has pthread_sigmask(3) for Linux
// alone. The daemon keeps its caller's mask here, but for what Notify unblocks.
func unblockSignals() error { return nil }
