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
// The list is sure only while no child is started or ends. A thread that ends
// meanwhile hands its children to another one, and then all are asked again.
func Children(pid int) ([]int, error) {
	pids, err := children(pid)
	return pids, goneError(pid, err)
}

// asks is how often the threads of a process are asked, if one ends each time.
const asks = 100

func children(pid int) (pids []int, err error) {
	for range asks {
		ended := false
		if pids, ended, err = childrenOfThreads(pid); err != nil || !ended {
			break
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), err
}

// childrenOfThreads returns the children of all threads, and whether one of these has
// ended meanwhile.
func childrenOfThreads(pid int) (pids []int, ended bool, err error) {
	pids = []int{}
	tids, err := numbersIn(pidPath(pid, "task"))
	if err != nil {
		return pids, false, err
	}
	// Every thread can start children, and the kernel lists them by thread.
	for _, tid := range tids {
		more, ok, err := childrenOfThread(pid, tid)
		if err != nil {
			return pids, false, err
		}
		if !ok {
			// Has the thread ended, or is this a kernel without
			// CONFIG_PROC_CHILDREN?
			if _, err := os.Stat(pidPath(pid, "task", strconv.Itoa(tid))); err == nil {
				pids, err := childrenByScan(pid)
				return pids, false, err
			}
			ended = true
		}
		pids = append(pids, more...)
	}
	return pids, ended, nil
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
