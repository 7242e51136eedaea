//go:build !linux

package main

// noNewPrivileges does nothing: no_new_privs is Linux's. FreeBSD has a call of its own,
// procctl(2).
func noNewPrivileges() error { return nil }

// layDown has nothing to lay down: capabilities are Linux's.
func layDown() error { return nil }
