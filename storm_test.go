//go:build linux

package daemonsteps

import "flag"

// storm has the tests that start a program again and again do so at full size, as
// make stress does. Without it they start it a few times.
var storm = flag.Bool("storm", false, "run the storms at full size")
