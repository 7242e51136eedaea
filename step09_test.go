//go:build linux

package daemonsteps

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func init() {
	verbs["about"] = about
	verbs["served"] = served
}

// about says whom the next commands are about: the launcher, the child of whom they were
// about before, or the one orphan, which may have ended.
func about(ts *testscript.TestScript, neg bool, args []string) {
	st := started(ts)
	switch {
	case len(args) == 1 && args[0] == "launcher" && !neg:
		st.daemon = st.session.Info.Launcher
	case len(args) == 1 && args[0] == "child" && !neg:
		live, err := st.lab.Rest(deadline)
		ts.Check(err)
		var children []int
		for _, pid := range live {
			p, err := st.lab.Stat(pid)
			ts.Check(err)
			if p.PPID == st.daemon {
				children = append(children, pid)
			}
		}
		if len(children) != 1 {
			ts.Fatalf("process %d has the children %v, and not one", st.daemon, children)
		}
		st.daemon = children[0]
	case len(args) == 1 && args[0] == "orphan" && !neg:
		_, err := st.lab.Rest(deadline)
		ts.Check(err)
		orphans, err := st.lab.Adopted()
		ts.Check(err)
		dead, err := st.lab.Ended()
		ts.Check(err)
		for _, d := range dead {
			orphans = append(orphans, d.PID)
		}
		if len(orphans) != 1 {
			ts.Fatalf("the orphans are %v, and not one", orphans)
		}
		st.daemon = orphans[0]
	default:
		ts.Fatalf("usage: about launcher|child|orphan")
	}
}

// served says what is served on the daemon's socket: one line that matches. With "!"
// nobody must be there.
func served(ts *testscript.TestScript, neg bool, args []string) {
	// The name is not waited for: that there is none is what a client would see.
	sockets, _ := filepath.Glob(filepath.Join(started(ts).session.Info.TmpDir, "daemonsteps-*", "status"))
	if len(args) > 2 && args[0] == "-dir" {
		sockets = []string{filepath.Join(ts.MkAbs(args[1]), "status")}
		args = args[2:]
	}
	if len(args) != 1 && !neg || len(args) != 0 && neg {
		ts.Fatalf("usage: served [-dir DIR] PATTERN, or ! served")
	}
	text, err := askStatus(sockets)
	if neg {
		if err == nil {
			ts.Fatalf("served: %q", text)
		}
		return
	}
	ts.Check(err)
	re, err := regexp.Compile(args[0])
	ts.Check(err)
	if !re.MatchString(text) {
		ts.Fatalf("served: %q", text)
	}
}

// askStatus connects to the first of these sockets, and reads what is told there.
func askStatus(sockets []string) (string, error) {
	if len(sockets) == 0 {
		return "", errors.New("there is no socket")
	}
	conn, err := net.Dial("unix", sockets[0])
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(deadline))
	text, err := io.ReadAll(conn)
	return string(text), err
}
