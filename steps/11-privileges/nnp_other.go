//go:build !linux

package main

// noNewPrivileges does nothing: only Linux has no_new_privs.
func noNewPrivileges() error { return nil }
