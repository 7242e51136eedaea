//go:build linux

package lab

import (
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"daemonsteps/internal/proc"
)

// Rest waits until every process of the Lab has come to rest.
//
// How does one know that a process has done all that a signal made it do? Not by
// waiting a while. A thread that has something to do is in state R, for running
// or ready to run, from the moment it is woken; or else it has said that it is about
// to sleep, and is still on a processor. So if all threads are asleep and off the
// processors, and none was switched to or from one between two looks (the counts of
// context switches in proc_pid_status(5) stand still), then none of them ran in
// between, none can have woken another, and nothing is under way.
func (g *Guardian) Rest(t Timed, reply *[]int) error {
	deadline := time.Now().Add(t.Timeout)
	pause := time.Millisecond
	var first look
	for {
		// A glance at the first of them is cheap, and nearly always enough to see that
		// it is too early.
		if !busy(first.live) {
			if first = g.look(); first.quiet && first.whole {
				time.Sleep(gap)
				active := first.active() // Before the second look, which shows what it does.
				second := g.look()
				if !active && second.quiet && second.whole && maps.Equal(first.switches, second.switches) {
					*reply = second.live
					return nil
				}
			}
		}
		if time.Now().After(deadline) {
			return g.timeout("the processes have not come to rest after %v", t.Timeout)
		}
		// This decides nothing. It leaves the processor to those we wait for.
		time.Sleep(pause)
		pause = min(2*pause, 5*time.Millisecond)
	}
}

// gap is the time between two looks that have to show the same.
const gap = 4 * time.Millisecond

// busy says whether the first of these has a thread that runs, or is ready to.
func busy(live []int) bool {
	if len(live) == 0 {
		return false
	}
	threads, _ := proc.Threads(live[0]) // One that is gone has none.
	return slices.ContainsFunc(threads, func(th proc.Thread) bool { return th.State == "R" || th.State == "D" })
}

// A look is what one look at all live processes of the Lab shows.
type look struct {
	live     []int          // without the Lab's shells: orphans first, and of these the oldest
	switches map[int]uint64 // context switches of every thread; ended for a process
	asleep   map[int]bool   // threads in state S: a stopped one does not wake by itself
	quiet    bool           // all threads are at rest
	whole    bool           // nobody can have been missed
}

// active says whether one of the threads only seemed to be asleep.
func (l look) active() bool {
	for tid, switches := range l.switches {
		nap := gap
		if !l.asleep[tid] {
			nap = 0
		}
		if switches != ended && proc.Active(tid, nap) {
			return true
		}
	}
	return false
}

// ended stands in look.switches for a process that has ended.
const ended = math.MaxUint64

// look looks at all that descends from the guardian.
//
// An orphan becomes our child before its parent is seen to be dead. So if a process
// ended while we went through the tree, and we missed its children, then we have
// got a child more. The look is whole if we have not.
func (g *Guardian) look() look {
	l := look{switches: map[int]uint64{}, asleep: map[int]bool{}, quiet: true}
	own := g.shells()
	ours, _ := proc.Children(os.Getpid())
	var level []int
	for _, pid := range ours {
		if _, known := g.zombies.Load(pid); known {
			l.switches[pid] = ended
		} else {
			level = append(level, pid)
		}
	}
	oldestFirst(level)
	for len(level) > 0 {
		var below []int
		for _, pid := range level {
			threads, children, err := proc.Glance(pid)
			if err != nil { // It has gone; what it leaves behind comes to us.
				l.quiet = false
				continue
			}
			if proc.Ended(threads) {
				// If it has ended since our last look, its children may have gone to
				// a subreaper below us, where we do not see that they are new.
				l.switches[pid] = ended
				if _, isOurs := slices.BinarySearch(ours, pid); isOurs {
					g.zombies.Store(pid, true)
				}
				continue
			}
			below = append(below, children...)
			if own[pid] {
				continue
			}
			l.live = append(l.live, pid)
			for _, th := range threads {
				l.switches[th.TID] = th.Switches
				l.asleep[th.TID] = th.State == "S"
				l.quiet = l.quiet && atRest(th)
			}
		}
		level = below
	}
	now, _ := proc.Children(os.Getpid())
	l.whole = slices.Equal(ours, now)
	return l
}

func atRest(th proc.Thread) bool {
	switch th.State {
	case "S": // asleep; but a signal may be on its way
		return th.Pending&^th.Blocked == 0
	case "T", "t", "Z", "X": // stopped, or ended
		return true
	}
	return false
}
