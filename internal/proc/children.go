//go:build linux

package proc

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Children returns the children of a process, sorted, zombies among them.
//
// The list is sure only while nothing moves. When a thread ends meanwhile, its
// children pass to another thread and may be missed.
func Children(pid int) ([]int, error) {
	pids, err := children(pid)
	return pids, goneError(pid, err)
}

func children(pid int) ([]int, error) {
	pids := []int{}
	tids, err := numbersIn(pidPath(pid, "task"))
	if err != nil {
		return pids, err
	}
	// Every thread can start children, and the kernel lists them by thread.
	for _, tid := range tids {
		more, ok, err := childrenOfThread(pid, tid)
		if err != nil {
			return pids, err
		}
		if !ok {
			// Has the thread ended, or is this a kernel without
			// CONFIG_PROC_CHILDREN?
			if _, err := os.Stat(pidPath(pid, "task", strconv.Itoa(tid))); err == nil {
				return childrenByScan(pid)
			}
		}
		pids = append(pids, more...)
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// childrenOfThread returns the children that one thread has started or adopted, and
// whether there is a list of them.
func childrenOfThread(pid, tid int) (pids []int, ok bool, err error) {
	path := pidPath(pid, "task", strconv.Itoa(tid), "children")
	text, err := readFile(path, nil)
	if gone(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, true, err
	}
	for _, word := range strings.Fields(string(text)) {
		child, err := strconv.Atoi(word)
		if err != nil {
			return nil, true, fmt.Errorf("parse %s: %w", path, err)
		}
		pids = append(pids, child)
	}
	return pids, true, nil
}

// childrenByScan asks every process for its parent.
func childrenByScan(pid int) ([]int, error) {
	pids := []int{}
	all, err := numbersIn(root)
	if err != nil {
		return pids, err
	}
	for _, n := range all {
		s, err := ReadStat(n)
		switch {
		case errors.Is(err, ErrGone):
		case err != nil:
			return pids, err
		case s.PPID == pid:
			pids = append(pids, n)
		}
	}
	return pids, nil
}
