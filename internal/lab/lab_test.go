//go:build linux

package lab

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Main()
	os.Exit(m.Run())
}

const long = 10 * time.Second

func TestSmoke(t *testing.T) {
	for _, way := range []Way{Job, Script, Direct} {
		l, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		t0 := time.Now()
		s, err := l.Start(Command{Args: []string{os.Getenv("PROG")}, Way: way})
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.Wait(long)
		t.Log(way, s.Info, e, err, time.Since(t0))
		p, err := l.Rest(long)
		t.Log(p, err, time.Since(t0))
		out, _, err := s.Output()
		t.Logf("%q %v", out, err)
		for _, pid := range p {
			st, err := l.State(pid)
			t.Logf("%+v %v", st, err)
		}
		t.Log(s.Hangup())
		p, err = l.Rest(long)
		t.Log("after hangup", p, err)
		n, err := l.Ended()
		t.Log("ended", n, err, time.Since(t0))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		t.Log(time.Since(t0))
	}
	_ = strings.Join
}
