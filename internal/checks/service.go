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

// A service is one start of the program, as a service manager would start it.
type service struct {
	*lab.Session
	launch
	said    []lab.Notice
	address string   // of the socket that it was passed, or ""
	client  net.Conn // who has waited there from before the start, or nil
}

func (s service) hangUp() {
	if s.client != nil {
		s.client.Close()
	}
}

// startService starts the program as a service manager would, waits until it is at rest,
// and, if it has not said READY=1 then and may say it, a while for that. The error is
// ErrNoDaemon, with what the command said, if nothing is left. Also with an error the
// client is to be hung up.
func (b *bench) startService(l *lab.Lab, mayNotify bool) (s service, err error) {
	s.guardian, s.restTime = l.Guardian(), b.restTime()
	if b.Activate != "" {
		if s.address, err = l.Listen(b.Activate); err != nil {
			return s, err
		}
		if s.client, err = net.DialTimeout(b.Activate, s.address, b.Timeout); err != nil {
			return s, err
		}
	}
	if s.Session, err = l.Start(lab.Command{Args: b.args, Way: lab.Service, Activate: b.Activate != ""}); err != nil {
		return s, err
	}
	s.info = s.Info
	if s.live, s.restless, err = b.rest(l); err != nil || s.restless > 0 {
		return s, err
	}
	if s.said, err = s.Notices(); err == nil && mayNotify && len(s.live) > 0 && !slices.ContainsFunc(s.said, isReady) {
		if s.said, err = b.hear(s, 0); err == nil {
			s.live, _, err = b.rest(l)
		}
	}
	if err != nil {
		return s, err
	}
	stays := func() bool { return slices.Contains(s.live, s.info.Launcher) }
	if stays() {
		if s.daemon, err = l.State(s.info.Launcher); err != nil {
			return s, fmt.Errorf("read the daemon's state: %w", err)
		}
		if s.daemon.State == "Z" { // It may have ended by itself meanwhile.
			if s.live, _, err = b.rest(l); err != nil {
				return s, err
			}
		}
	}
	if stays() {
		return s, nil
	}
	s.daemon = nil
	if s.exit, err = s.Wait(b.Timeout); err == nil && len(s.live) == 0 {
		out, stderr, _ := s.Output()
		err = fmt.Errorf("%w: the command ended with %v%s", ErrNoDaemon, s.exit, words(out+stderr))
	}
	return s, err
}

func isReady(n lab.Notice) bool { return n.Has("READY=1") }

// hear waits for a READY=1 that comes behind the first messages, or for the command's
// end, and returns all messages.
func (b *bench) hear(s service, behind int) ([]lab.Notice, error) {
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
	s, err := b.startService(l, true)
	defer func() { s.hangUp() }()
	r.launch, v.said = s.launch, s.said
	if err == nil && s.daemon == nil && len(s.live) > 0 {
		v.detached, err = l.State(s.live[0])
	}
	if err != nil || s.daemon == nil {
		return err
	}
	adopted, err := l.Adopted()
	if err != nil {
		return err
	}
	v.strays = slices.DeleteFunc(adopted, func(pid int) bool { return pid == s.daemon.PID })
	if b.Activate != "" {
		if err := b.serve(l, s, f); err != nil {
			return err
		}
	}
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
		if s, err = b.startService(l, len(v.said) > 0); err == nil && s.daemon == nil {
			err = fmt.Errorf("the command ended with %v", s.exit)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errUnsteady, err)
		}
		s.hangUp()
	}
	r.filesBefore, r.liveBefore = files(s.info.TmpDir), len(s.live)
	r.term, err = b.endBy(l, s.daemon, syscall.SIGTERM)
	if err == nil && r.term.ignored == "" && r.term.err == nil {
		var live []int
		live, _, err = b.rest(l)
		r.filesAfter, r.liveAfter = files(s.info.TmpDir), len(live)
	}
	return errors.Join(err, listen())
}

// reloadService sends SIGHUP to the daemon. If it has said READY=1, it should again.
func (b *bench) reloadService(l *lab.Lab, s service, f *facts) (err error) {
	r, v := &f.job, &f.service
	said, err := s.Notices()
	if err != nil {
		return err
	}
	before := len(said)
	if err := l.Signal(s.daemon.PID, syscall.SIGHUP); err != nil {
		return err
	}
	if r.reload, err = b.after(l, s.daemon.PID); err != nil || r.reload.died {
		return err
	}
	said, err = s.Notices()
	heeds := slices.ContainsFunc(s.said, isReady) && !slices.Contains(s.daemon.Ignored, "SIGHUP")
	if err == nil && heeds && !slices.ContainsFunc(said[before:], isReady) {
		said, err = b.hear(s, before)
	}
	if err != nil {
		return err
	}
	v.reloading = said[before:]
	if r.reload, err = b.after(l, s.daemon.PID); err != nil || r.reload.died { // while we waited
		return err
	}
	v.reloaded, err = l.Stat(s.daemon.PID)
	return err
}

// serve says what has become of the client who has waited from before the start, and of
// another one who comes now.
func (b *bench) serve(l *lab.Lab, s service, f *facts) (err error) {
	f.service.before, err = b.served(l, s.client)
	s.hangUp() // Many serve one client after the other. And who has clients need not end.
	if err != nil || f.service.before.waits {
		return err
	}
	second, err := net.DialTimeout(b.Activate, s.address, b.Timeout)
	if err != nil {
		return err
	}
	defer second.Close()
	f.service.after, err = b.served(l, second)
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
