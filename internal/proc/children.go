//go:build linux

package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
		path := pidPath(pid, "task", strconv.Itoa(tid), "children")
		text, err := readFile(path, nil)
		if gone(err) {
			// Has the thread ended, or is this a kernel without
			// CONFIG_PROC_CHILDREN?
			if _, err := os.Stat(filepath.Dir(path)); err == nil {
				return childrenByScan(pid)
			}
			continue
		}
		if err != nil {
			return pids, err
		}
		for _, word := range strings.Fields(string(text)) {
			child, err := strconv.Atoi(word)
			if err != nil {
				return pids, fmt.Errorf("parse %s: %w", path, err)
			}
			pids = append(pids, child)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
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
