//go:build linux

package lab

import (
	"maps"
	"time"

	"daemonsteps/internal/proc"
)

// Rest waits until every process of the Lab has come to rest.
//
// How does one know that a process has done all that a signal made it do? Not by
// waiting a while. A thread that has something to do is in state R, for running
// or ready to run, from the moment it is woken. So if all threads are asleep, and
// none was switched to or from a processor between two looks (the counts of
// context switches in proc_pid_status(5) stand still), then none of them ran in
// between, none can have woken another, and nothing is under way.
func (g *Guardian) Rest(t Timed, reply *[]int) error {
	deadline := time.Now().Add(t.Timeout)
	pause := time.Millisecond
	var known []proc.Stat
	for {
		// A look at those that were there is cheap, and nearly always enough to see
		// that it is too early.
		if !busy(known) {
			first, whole := g.tree()
			before, quiet := look(first)
			if quiet && whole {
				second, whole := g.tree()
				if after, quiet := look(second); quiet && whole && maps.Equal(before, after) {
					*reply = pids(second)
					return nil
				}
			}
			known = first
		}
		if time.Now().After(deadline) {
			return g.timeout("the processes have not come to rest after %v", t.Timeout)
		}
		// This decides nothing. It leaves the processor to those we wait for.
		time.Sleep(pause)
		pause = min(2*pause, 5*time.Millisecond)
	}
}

// busy says whether one of these has a thread that runs, or is ready to.
func busy(known []proc.Stat) bool {
	for _, st := range known {
		threads, _ := proc.Threads(st.PID) // One that is gone has none.
		for _, th := range threads {
			if th.State == "R" || th.State == "D" {
				return true
			}
		}
	}
	return false
}

// look returns the count of context switches of every thread, and whether all
// are at rest.
func look(live []proc.Stat) (switches map[int]uint64, quiet bool) {
	switches = map[int]uint64{}
	for _, st := range live {
		threads, err := proc.Threads(st.PID)
		if err != nil {
			return nil, false
		}
		for _, th := range threads {
			switches[th.TID] = th.Switches
			switch th.State {
			case "S": // asleep; but a signal may be on its way
				if th.Pending&^th.Blocked != 0 {
					return nil, false
				}
			case "T", "t", "Z", "X": // stopped, or ended
			default:
				return nil, false
			}
		}
	}
	return switches, true
}
