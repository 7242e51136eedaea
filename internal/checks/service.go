//go:build linux

package checks

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"syscall"

	"daemonsteps/internal/lab"
)

// startService starts the program as a service manager would, waits until it is at rest,
// and, if it has not said READY=1 then, a while for that. The error is ErrNoDaemon, with
// what the command said, if nothing is left.
func (b *bench) startService(l *lab.Lab, c lab.Command) (s *lab.Session, ln launch, said []lab.Notice, err error) {
	c.Args, c.Way = b.args, lab.Service
	ln = launch{guardian: l.Guardian(), restTime: b.restTime()}
	if s, err = l.Start(c); err != nil {
		return nil, ln, nil, err
	}
	ln.info = s.Info
	if ln.live, ln.restless, err = b.rest(l); err != nil || ln.restless > 0 {
		return s, ln, nil, err
	}
	if said, err = s.Notices(); err == nil && len(ln.live) > 0 && !slices.ContainsFunc(said, isReady) {
		if said, err = b.hear(s, 0); err == nil {
			ln.live, _, err = b.rest(l)
		}
	}
	if err != nil {
		return s, ln, nil, err
	}
	if slices.Contains(ln.live, s.Info.Launcher) {
		if ln.daemon, err = l.State(s.Info.Launcher); err != nil {
			return s, ln, nil, fmt.Errorf("read the daemon's state: %w", err)
		}
		if ln.daemon.State != "Z" {
			return s, ln, said, nil
		}
		ln.daemon = nil // It has ended by itself meanwhile.
		if ln.live, _, err = b.rest(l); err != nil {
			return s, ln, nil, err
		}
	}
	if ln.exit, err = s.Wait(b.Timeout); err == nil && len(ln.live) == 0 {
		out, stderr, _ := s.Output()
		err = fmt.Errorf("%w: the command ended with %v%s", ErrNoDaemon, ln.exit, words(out+stderr))
	}
	return s, ln, said, err
}

func isReady(n lab.Notice) bool { return n.Has("READY=1") }

// hear waits for a READY=1 that comes behind the first messages, or for the command's
// end, and returns all messages.
func (b *bench) hear(s *lab.Session, behind int) ([]lab.Notice, error) {
	said, err := s.WaitNotice(behind, "READY=1", b.restTime())
	if errors.Is(err, lab.ErrTimeout) {
		return s.Notices()
	}
	return said, err
}

// runService starts the program as a service, has it reload by SIGHUP, and ends it with
// SIGTERM.
func (b *bench) runService(l *lab.Lab, f *facts) error {
	r, v := &f.job, &f.service
	s, ln, said, err := b.startService(l, lab.Command{})
	r.launch, v.said = ln, said
	if err == nil && ln.daemon == nil && len(ln.live) > 0 {
		v.detached, err = l.State(ln.live[0])
	}
	if err != nil || ln.daemon == nil {
		return err
	}
	adopted, err := l.Adopted()
	if err != nil {
		return err
	}
	v.strays = slices.DeleteFunc(adopted, func(pid int) bool { return pid == ln.daemon.PID })
	listen := func() error { // before what was said is gone with the session
		out, stderr, err := s.Output()
		v.stdout, v.stderr = v.stdout+out, v.stderr+stderr
		return err
	}
	if b.needs&needReload != 0 {
		if err := b.reloadService(l, s, f); err != nil {
			return err
		}
	}
	if b.needs&needEnd == 0 {
		return nil
	}
	if r.reload.died {
		if err := errors.Join(listen(), l.Clear()); err != nil {
			return err
		}
		r.lost = needEnd
		if s, ln, _, err = b.startService(l, lab.Command{}); err == nil && ln.daemon == nil {
			err = fmt.Errorf("the command ended with %v", ln.exit)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errUnsteady, err)
		}
	}
	r.filesBefore, r.liveBefore = files(ln.info.TmpDir), len(ln.live)
	r.term, err = b.endBy(l, ln.daemon, syscall.SIGTERM)
	if err == nil && r.term.ignored == "" && r.term.err == nil {
		var live []int
		live, _, err = b.rest(l)
		r.filesAfter, r.liveAfter = files(ln.info.TmpDir), len(live)
	}
	return errors.Join(err, listen())
}

// reloadService sends SIGHUP to the daemon. If it has said READY=1, it should again.
func (b *bench) reloadService(l *lab.Lab, s *lab.Session, f *facts) (err error) {
	r, v := &f.job, &f.service
	before := len(v.said)
	if err := l.Signal(r.daemon.PID, syscall.SIGHUP); err != nil {
		return err
	}
	if r.reload, err = b.after(l, r.daemon.PID); err != nil || r.reload.died {
		return err
	}
	said, err := s.Notices()
	if err == nil && slices.ContainsFunc(v.said, isReady) && !slices.ContainsFunc(said[before:], isReady) {
		said, err = b.hear(s, before)
	}
	if err != nil {
		return err
	}
	v.reloading = said[before:]
	v.reloaded, err = l.Stat(r.daemon.PID)
	return err
}

// runActivate has a client wait at a socket, starts the program with that, and has
// another client come.
func (b *bench) runActivate(l *lab.Lab, f *facts) error {
	if err := l.Clear(); err != nil {
		return err
	}
	address, err := l.Listen(b.Activate)
	if err != nil {
		return err
	}
	before, err := net.DialTimeout(b.Activate, address, b.Timeout)
	if err != nil {
		return err
	}
	defer before.Close()
	_, ln, _, err := b.startService(l, lab.Command{Activate: true})
	if errors.Is(err, ErrNoDaemon) {
		f.activate.why = err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	if ln.daemon == nil {
		f.activate.why = "it has detached"
		return nil
	}
	f.activate.before, err = b.served(l, before)
	if err != nil || f.activate.before.waits {
		return err
	}
	after, err := net.DialTimeout(b.Activate, address, b.Timeout)
	if err != nil {
		return err
	}
	defer after.Close()
	f.activate.after, err = b.served(l, after)
	return err
}

// served says what has become of a client of the passed socket when all is at rest. A
// client that nobody has accepted is in the socket's queue, whatever it sees itself: its
// connect(2) has succeeded.
func (b *bench) served(l *lab.Lab, conn net.Conn) (c client, err error) {
	if _, _, err := b.rest(l); err != nil {
		return c, err
	}
	if c.waits, err = l.Queued(); err != nil || c.waits {
		return c, err
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return c, err
	}
	text := make([]byte, 4096)
	err = raw.Read(func(fd uintptr) bool {
		n, _, err := syscall.Recvfrom(int(fd), text, syscall.MSG_DONTWAIT)
		c.told, c.closed = string(text[:max(n, 0)]), n == 0 || err == syscall.ECONNRESET
		return true // What there is at rest is what there is.
	})
	return c, err
}
