//go:build linux

package proc

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The kernel writes no crooked files, and a process does not end on command.
// For such cases the tests make a /proc of their own, with process 7 in it.

func statLine(state string, flags, startTime int) string {
	return fmt.Sprintf("7 (x) %s 1 7 7 0 -1 %d 0 0 0 0 0 0 0 0 20 0 1 0 %d 0\n", state, flags, startTime)
}

const statusText = "Umask:\t0022\nState:\tS (sleeping)\nThreads:\t2\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t10 11 \n" +
	"SigPnd:\t0000000000000001\nShdPnd:\t0000000000000004\nSigBlk:\t0000000000000000\n" +
	"SigIgn:\t0000000000000000\nSigCgt:\t0000000000000000\nNoNewPrivs:\t0\n" +
	"CapInh:\t0000000000000001\nCapPrm:\t0000000000000002\nCapEff:\t0000000000000004\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000010\n" +
	"voluntary_ctxt_switches:\t40\nnonvoluntary_ctxt_switches:\t2\n"

// files is a whole process. The value "->x" makes a symbolic link to x.
func files() map[string]string {
	return map[string]string{
		"7/stat":            statLine("S", 0, 99),
		"7/status":          statusText,
		"7/cmdline":         "x\x00",
		"7/environ":         "TZ=UTC\x00LANG=C\x00PS1==\x00junk\x00",
		"7/exe":             "->/bin/x",
		"7/cwd":             "->/",
		"7/root":            "->/",
		"7/fd/0":            "->/dev/null",
		"7/fdinfo/0":        "pos:\t0\nflags:\t0100002\n",
		"7/task/7/children": "9 8 ",
		"7/task/7/status":   statusText,
	}
}

// mount puts the files where this package looks for /proc. The change map
// replaces some; "" removes one.
func mount(t *testing.T, change map[string]string) {
	t.Helper()
	dir, all := t.TempDir(), files()
	maps.Copy(all, change)
	for name, text := range all {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, path)
		} else if text != "" {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	old := root
	root = dir
	t.Cleanup(func() { root = old })
}

func TestFakeWhole(t *testing.T) {
	mount(t, nil)
	p := mustRead(t, 7)
	equal(t, "uids", p.UIDs, IDs{1, 2, 3, 4})
	equal(t, "gids", p.GIDs, IDs{5, 6, 7, 8})
	equal(t, "groups", p.Groups, []int{10, 11})
	equal(t, "capabilities", p.Caps, Caps{1, 2, 4, 1<<41 - 1, 16})
	equal(t, "environment", p.Environ, []string{"LANG", "PS1", "TZ"})
	equal(t, "flags of descriptor 0", p.FDs[0].Flags, 0o100002)
	equal(t, "children", p.Children, []int{8, 9})

	threads, err := Threads(7)
	equal(t, "error", err, nil)
	equal(t, "threads", threads, []Thread{{TID: 7, State: "S", Pending: 0b101, Switches: 42, threads: 2}})
}

func TestFakeCrooked(t *testing.T) {
	without := func(line string) string {
		before, after, _ := strings.Cut(statusText, line)
		_, after, _ = strings.Cut(after, "\n")
		return before + after
	}
	for _, test := range []struct{ file, text, want string }{
		{"stat", "7 (x S 1", "parse ROOT/7/stat: no name in parentheses"},
		{"stat", "7 (x) S 1 7", "parse ROOT/7/stat: 3 fields after the name, want 20 at least"},
		{"stat", strings.Replace(statLine("S", 0, 99), "99", "-1", 1),
			`parse ROOT/7/stat: strconv.ParseUint: parsing "-1": invalid syntax`},
		{"status", "", "open ROOT/7/status: no such file or directory"},
		{"status", without("Umask"), "parse ROOT/7/status: Umask: no such line"},
		{"status", without("Uid"), "parse ROOT/7/status: Uid: no such line"},
		{"status", strings.Replace(statusText, "\t4\n", "\n", 1), "parse ROOT/7/status: Uid: 3 numbers, want 4"},
		{"status", strings.Replace(statusText, "0022", "0088", 1),
			`parse ROOT/7/status: Umask: strconv.ParseUint: parsing "0088": invalid syntax`},
		{"cmdline", "", "open ROOT/7/cmdline: no such file or directory"},
		{"environ", "", "open ROOT/7/environ: no such file or directory"},
		{"exe", "", "readlink ROOT/7/exe: no such file or directory"},
		{"exe", "no link", "readlink ROOT/7/exe: invalid argument"},
		{"fd/0", "no link", "readlink ROOT/7/fd/0: invalid argument"},
		{"fd/0", "->0", "stat ROOT/7/fd/0: too many levels of symbolic links"},
		{"fdinfo/0", "pos:\t0\n", "parse ROOT/7/fdinfo/0: flags: no such line"},
		{"fdinfo/0", "flags:\t9\n", `parse ROOT/7/fdinfo/0: flags: strconv.ParseUint: parsing "9": invalid syntax`},
		{"fdinfo/0", "flags:\t0\nsigmask:\tx\n", `parse ROOT/7/fdinfo/0: sigmask: strconv.ParseUint: parsing "x": invalid syntax`},
		{"task/7/children", "x", `parse ROOT/7/task/7/children: strconv.Atoi: parsing "x": invalid syntax`},
		{"task/7/children", "->children", "open ROOT/7/task/7/children: too many levels of symbolic links"},
	} {
		mount(t, map[string]string{"7/" + test.file: test.text})
		_, err := Read(7)
		if want := strings.ReplaceAll(test.want, "ROOT", root); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		if errors.Is(err, ErrGone) {
			t.Errorf("%v: is ErrGone, but the process is there", err)
		}
	}
}

func TestFakeCrookedThread(t *testing.T) {
	for text, want := range map[string]string{
		"Name:\tx\n":        "parse ROOT/7/task/7/status: 0 of the 7 lines about state, threads, signals and switches",
		"State:\t\n":        "parse ROOT/7/task/7/status: no letter in State",
		"SigPnd:\tx\n":      `parse ROOT/7/task/7/status: SigPnd: strconv.ParseUint: parsing "x": invalid syntax`,
		"->status":          "open ROOT/7/task/7/status: too many levels of symbolic links",
		"":                  "pid 7: process is gone: ROOT/7/task: no thread",
		"->" + os.TempDir(): "read ROOT/7/task/7/status: is a directory",
	} {
		mount(t, map[string]string{"7/task/7/status": text})
		_, err := Threads(7)
		if want := strings.ReplaceAll(want, "ROOT", root); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		equal(t, "gone", errors.Is(err, ErrGone), text == "")
	}
}

// A status longer than the first buffer is read whole.
func TestFakeLongStatus(t *testing.T) {
	mount(t, map[string]string{"7/task/7/status": "Groups:\t" + strings.Repeat("1000 ", 5000) + "\n" + statusText})
	threads, err := Threads(7)
	equal(t, "error", err, nil)
	equal(t, "threads", threads, []Thread{{TID: 7, State: "S", Pending: 0b101, Switches: 42, threads: 2}})
}

// What is missing from a process that ends is no error. The flag of a process
// that exits is PF_EXITING, and that of a kernel thread PF_KTHREAD.
func TestFakeEnding(t *testing.T) {
	for stat, ok := range map[string]bool{
		statLine("S", 0, 99):          false,
		statLine("Z", 0, 99):          true,
		statLine("X", 0, 99):          true,
		statLine("R", 0x4, 99):        true,
		statLine("I", 0x00200000, 99): true,
	} {
		mount(t, map[string]string{
			"7/stat": stat, "7/exe": "", "7/cwd": "", "7/root": "",
			"7/status": strings.Replace(statusText, "Umask:\t0022\n", "", 1),
		})
		_, err := Read(7)
		equal(t, stat+"no error", err == nil, ok)
	}
}

// A descriptor that is closed between two looks is left out.
func TestFakeClosedDescriptor(t *testing.T) {
	for _, change := range []map[string]string{
		{"7/fdinfo/1": "", "7/fd/1": "->/dev/null"},
		{"7/fdinfo/1": "flags:\t00\n", "7/fd/1": "->/nowhere/at/all"},
	} {
		mount(t, change)
		p := mustRead(t, 7)
		if len(p.FDs) != 1 || p.FDs[0].FD != 0 {
			t.Errorf("descriptors %v, want 0 alone", p.FDs)
		}
	}
}

// The file status is a FIFO here. Read waits in it, and the process ends or is
// replaced meanwhile.
func TestFakeGoneInTheMiddle(t *testing.T) {
	for newStat, want := range map[string]string{
		"":                    "pid 7: process is gone: open ROOT/7/stat: no such file or directory",
		statLine("S", 0, 100): "pid 7: process is gone: ROOT/7/stat: start time was 99 and is now 100",
	} {
		mount(t, map[string]string{"7/status": ""})
		fifo, stat := pidPath(7, "status"), pidPath(7, "stat")
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			f, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits for Read
			if err != nil {
				done <- err
				return
			}
			defer f.Close()
			if newStat == "" {
				done <- os.Remove(stat)
			} else {
				done <- os.WriteFile(stat, []byte(newStat), 0o600)
			}
		}()
		result := make(chan error)
		go func() {
			_, err := Read(7)
			result <- err
		}()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		err := <-result
		if want := strings.ReplaceAll(want, "ROOT", root); !errors.Is(err, ErrGone) || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// Without CONFIG_PROC_CHILDREN the thread is there and its file is not.
func TestFakeChildrenByScan(t *testing.T) {
	stat := func(pid, ppid string) string {
		return strings.Replace(strings.Replace(statLine("S", 0, 1), "7 (x)", pid+" (x)", 1), " 1 7", " "+ppid+" 7", 1)
	}
	mount(t, map[string]string{
		"7/task/7/children": "",
		"12/stat":           stat("12", "7"),
		"8/stat":            stat("8", "7"),
		"9/stat":            stat("9", "8"),
		"10/stat":           "", // has ended
		"self/stat":         stat("11", "7"),
	})
	got, err := Children(7)
	equal(t, "error", err, nil)
	equal(t, "children", got, []int{8, 12})

	if err := os.WriteFile(filepath.Join(root, "9/stat"), []byte("crooked"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Children(7)
	equal(t, "error", fmt.Sprint(err), "parse "+root+"/9/stat: no name in parentheses")
}

// A thread whose directory goes away between two looks is left out.
func TestFakeEndedThread(t *testing.T) {
	mount(t, nil)
	if err := os.Symlink("nowhere", filepath.Join(root, "7/task/8")); err != nil {
		t.Fatal(err)
	}
	got, err := Children(7)
	equal(t, "error", err, nil)
	equal(t, "children", got, []int{8, 9})
	threads, err := Threads(7)
	equal(t, "error", err, nil)
	equal(t, "number of threads", len(threads), 1)
}

// The kernel's list may lack thread 9 because thread 8 ended meanwhile.
func TestFakeThreadMissed(t *testing.T) {
	mount(t, nil)
	main, missed := filepath.Join(root, "7/task/7/status"), filepath.Join(root, "7/task/9")
	gone := filepath.Join(root, "7/task/8")
	err := errors.Join(os.Remove(main), unix.Mkfifo(main, 0o600), os.Symlink("nowhere", gone))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		// This waits until the file is opened to be read: the list is made then.
		f, err := os.OpenFile(main, os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(statusText)
		}
		done <- errors.Join(err, os.Remove(main), os.WriteFile(main, []byte(statusText), 0o600),
			os.Remove(gone), os.Mkdir(missed, 0o700),
			os.WriteFile(filepath.Join(missed, "status"), []byte(statusText), 0o600), f.Close())
	}()
	threads, err := Threads(7)
	equal(t, "error", err, nil)
	equal(t, "number of threads", len(threads), 2)
	equal(t, "the test's error", <-done, nil)
}

// What a process may do the kernel says of each thread.
func TestFakeUneven(t *testing.T) {
	other := strings.NewReplacer("Uid:\t1\t", "Uid:\t0\t", "NoNewPrivs:\t0", "NoNewPrivs:\t1", "SigBlk:\t0000000000000000", "SigBlk:\t0000000000000002").Replace(statusText)
	mount(t, map[string]string{"7/task/8/status": other, "7/task/9/status": statusText})
	p, err := Read(7)
	equal(t, "error", err, nil)
	equal(t, "uneven", p.Uneven, []string{"Uid", "NoNewPrivs"})
	mount(t, nil)
	p, err = Read(7)
	equal(t, "error", err, nil)
	equal(t, "uneven", p.Uneven, []string{})
}

// A process whose main thread has ended, and which has another one that is missing in the
// list, goes on.
func TestFakeEnded(t *testing.T) {
	for _, test := range []struct {
		state, threads string
		want           bool
	}{
		{"Z", "1", true},
		{"Z", "2", false},
		{"X", "0", true},
		{"S", "1", false},
	} {
		text := strings.Replace(statusText, "State:\tS", "State:\t"+test.state, 1)
		text = strings.Replace(text, "Threads:\t2\n", "Threads:\t"+test.threads+"\n", 1)
		mount(t, map[string]string{"7/task/7/status": text})
		threads, err := Threads(7)
		equal(t, "error", err, nil)
		equal(t, "ended: "+test.state+test.threads, Ended(threads), test.want)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("a) S 1\n(b c", statLine("S", 0, 99))
	f.Add("", "7 (x) S")
	f.Add(") ) R (", ")(")
	f.Add("x", " ()")
	f.Add("\x00\xff", strings.Repeat(" (", 30)+")")
	f.Fuzz(func(t *testing.T, comm, line string) {
		parseStat(line) // must not panic
		s, err := parseStat("7 (" + comm + ") S 1 2 3 34816 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 99 0")
		if err != nil {
			t.Fatalf("name %q: %v", comm, err)
		}
		equal(t, "stat", s, Stat{PID: 7, PPID: 1, PGID: 2, SID: 3, TTY: "pts/0", TTYNr: 34816,
			Comm: comm, State: "S", Start: 99, Flags: 4})
	})
}

// A signal that one thread takes is not blocked, whatever the main thread's mask.
func TestFakeBlockedIsAllThreads(t *testing.T) {
	mask := func(bits string) string {
		return strings.Replace(statusText, "SigBlk:\t0000000000000000", "SigBlk:\t"+bits, 1)
	}
	mount(t, map[string]string{
		"7/status":          mask("fffffffffffffeff"),
		"7/task/7/status":   mask("fffffffffffffeff"), // all but signal 9
		"7/task/8/children": "",
		"7/task/8/status":   mask("0000000000000201"), // SIGHUP and SIGUSR1
	})
	equal(t, "blocked", mustRead(t, 7).Blocked, []string{"SIGHUP", "SIGUSR1"})
}
