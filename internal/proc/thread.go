//go:build linux

package proc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Thread is one thread as /proc/PID/task/TID/status shows it.
type Thread struct {
	TID   int    `json:"tid"`
	State string `json:"state"` // one letter, such as "S"

	// Pending holds the signals that wait for this thread and those that wait
	// for any thread of the process. Blocked holds those that this thread does
	// not take now. Bit 0 stands for signal 1.
	Pending uint64 `json:"pending"`
	Blocked uint64 `json:"blocked"`

	// Switches counts how often the thread left the processor, by its own will
	// or not. A thread that is in state S twice, with the same number, has slept
	// all the while: it cannot wake and sleep again without leaving once more.
	Switches uint64 `json:"switches"`

	threads int // how many its process has
}

// Threads returns the threads of a process, sorted by TID.
func Threads(pid int) (threads []Thread, err error) {
	err = eachThread(pid, func() { threads = []Thread{} }, func(tid int, status []byte) error {
		t, err := parseThread(status)
		t.TID = tid
		threads = append(threads, t)
		return err
	})
	if err != nil {
		return nil, goneError(pid, err)
	}
	return threads, nil
}

// eachThread calls f with the status file of each thread of a process.
//
// Where a thread ends while the kernel lists them, the list ends too, and may lack others
// that go on. The ended one stands in such a list. So if a thread has gone when its file
// is to be read, all are listed again, and begin is called again.
func eachThread(pid int, begin func(), f func(tid int, status []byte) error) error {
	buf := make([]byte, 0, 4096) // one for all, because callers ask in a loop
	for range asks {
		begin()
		tids, err := numbersIn(pidPath(pid, "task"))
		if err != nil {
			return err
		}
		read := 0
		for _, tid := range tids {
			path := pidPath(pid, "task", strconv.Itoa(tid), "status")
			buf, err = readFile(path, buf[:0])
			if gone(err) {
				continue
			}
			if err != nil {
				return err
			}
			if err := f(tid, buf); err != nil {
				return fmt.Errorf("parse %s: %w", path, err)
			}
			read++
		}
		// A process has one thread at least, and be it a zombie.
		if read == 0 {
			return fmt.Errorf("pid %d: %w: %s: no thread", pid, ErrGone, pidPath(pid, "task"))
		}
		if read == len(tids) {
			break
		}
	}
	return nil
}

// Ended says whether a process with these threads has ended. That its main thread has
// tells nothing: others may go on, or be about to end, with children that they have
// started. So the kernel's count has to be that of a zombie, too.
func Ended(threads []Thread) bool {
	return len(threads) == 1 && threads[0].threads <= 1 && (threads[0].State == "Z" || threads[0].State == "X")
}

// Glance returns the threads of a process and its children, with as few reads as
// there are: two for a process of one thread. It is for callers that look at many
// processes again and again.
func Glance(pid int) ([]Thread, []int, error) {
	text, err := readFile(pidPath(pid, "status"), nil)
	if err != nil {
		return nil, nil, goneError(pid, err)
	}
	main, err := parseThread(text)
	if err != nil {
		return nil, nil, fmt.Errorf("parse %s: %w", pidPath(pid, "status"), err)
	}
	main.TID = pid
	if main.threads == 1 {
		kids, ok, err := childrenOfThread(pid, pid)
		if ok {
			return []Thread{main}, kids, err
		}
	}
	threads, err := Threads(pid)
	if err != nil {
		return nil, nil, err
	}
	kids, err := Children(pid)
	return threads, kids, err
}

// Active says whether a thread runs, or waits for a processor. State S alone does not
// tell: wait(2) for one sets it before it looks for a child, and while it then reaps one
// the thread is in state S, and runs. So the kernel is asked for the system call in which
// the thread is (proc_pid_syscall(5)). It answers for one that is off the processors, and
// waits for another to be. One that has gone is active. A thread that we may not ask about
// is not, as far as we know.
//
// A thread that sleeps for less than nap counts as active, too. The Go runtime sleeps for
// microseconds within work that goes on, and on a busy machine it takes milliseconds until
// the thread is seen to have woken.
func Active(tid int, nap time.Duration) bool {
	text, err := readFile(pidPath(tid, "syscall"), nil)
	if gone(err) { // the thread, or is there no such file on this kernel?
		_, err = readFile(pidPath(tid, "status"), nil)
		return gone(err)
	}
	return string(text) == "running\n" || sleep(tid, string(text)) < nap
}

// sleep returns how long a thread sleeps that is in this system call, with its arguments:
// one of those by which the Go runtime waits for a time. For any other it is for ever.
func sleep(tid int, text string) time.Duration {
	const (
		forever      = math.MaxInt64
		futexWait    = 0   // FUTEX_WAIT, futex(2)
		futexPrivate = 128 // FUTEX_PRIVATE_FLAG
	)
	var number, at uint64
	var args [6]uint64
	if _, err := fmt.Sscan(text, &number, &args[0], &args[1], &args[2], &args[3]); err != nil {
		return forever // -1: it is in none.
	}
	switch {
	case number == unix.SYS_EPOLL_PWAIT && int32(args[3]) >= 0:
		return time.Duration(int32(args[3])) * time.Millisecond
	case number == unix.SYS_NANOSLEEP:
		at = args[0]
	case number == unix.SYS_CLOCK_NANOSLEEP && args[1]&unix.TIMER_ABSTIME == 0:
		at = args[2]
	case number == unix.SYS_FUTEX && args[1]&^futexPrivate == futexWait:
		at = args[3]
	}
	if at == 0 {
		return forever
	}
	memory, err := os.Open(pidPath(tid, "mem")) // proc_pid_mem(5)
	if err != nil {
		return forever
	}
	defer memory.Close()
	var t unix.Timespec
	b := make([]byte, binary.Size(t))
	if _, err := memory.ReadAt(b, int64(at)); err != nil {
		return forever
	}
	if _, err := binary.Decode(b, binary.NativeEndian, &t); err != nil {
		return forever
	}
	return time.Duration(t.Nano())
}

// parseThread does for a few lines what readStatus does for many, and makes
// no garbage.
func parseThread(text []byte) (Thread, error) {
	var t Thread
	found := 0
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte("\n"))
		key, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)

		var n uint64
		var err error
		switch string(key) {
		case "State": // such as "S (sleeping)"
			if len(value) == 0 {
				return Thread{}, errors.New("no letter in State")
			}
			t.State = string(value[:1])
		case "Threads":
			n, err = strconv.ParseUint(string(value), 10, 32)
			t.threads = int(n)
		case "SigPnd", "ShdPnd":
			n, err = strconv.ParseUint(string(value), 16, 64)
			t.Pending |= n
		case "SigBlk":
			t.Blocked, err = strconv.ParseUint(string(value), 16, 64)
		case "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
			n, err = strconv.ParseUint(string(value), 10, 64)
			t.Switches += n
		default:
			continue
		}
		if err != nil {
			return Thread{}, fmt.Errorf("%s: %w", key, err)
		}
		found++
	}
	if found != 7 {
		return Thread{}, fmt.Errorf("%d of the 7 lines about state, threads, signals and switches", found)
	}
	return t, nil
}
