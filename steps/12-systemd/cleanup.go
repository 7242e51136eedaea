package main

// undo runs one part of the clean-up. Its error counts if it is the first one:
// status 0 is for a daemon that left nothing behind.
func undo(err *error, part func() error) {
	if e := part(); e != nil && *err == nil {
		*err = e
	}
}
