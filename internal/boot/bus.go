//go:build linux

package boot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	"daemonsteps/internal/lab"

	systemd1 "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// A bus is a connection to PID 1 itself. It tells when a property of a unit changes,
// so that nobody has to ask again and again.
type bus struct {
	conn    *systemd1.Conn
	awaited atomic.Value  // the name of the unit whose changes count
	changed chan struct{} // has something in it when it has changed since the last look
	closed  chan struct{}
}

// bridged is a connection through a process, which ends with it.
type bridged struct {
	*os.File
	bridge *exec.Cmd
}

func (b bridged) Close() error {
	err := b.File.Close()
	b.bridge.Wait() // Its status tells nothing: the machine may have ended before.
	return err
}

func (s *System) dial() (*bus, error) {
	conn, err := systemd1.NewConnection(func() (*dbus.Conn, error) {
		// PID 1 speaks to nobody whose pid it does not know, so a process in there has to
		// connect. The socket is the one that systemctl uses as root.
		ours, theirs, err := lab.SocketPair()
		if err != nil {
			return nil, err
		}
		defer theirs.Close()
		bridge := s.Command("systemd-stdio-bridge", "--bus-path=unix:path=/run/systemd/private")
		bridge.Stdin, bridge.Stdout = theirs, theirs
		if err := bridge.Start(); err != nil {
			ours.Close()
			return nil, err
		}
		go keepGoing(bridge.Process.Pid)
		conn, err := dbus.NewConn(bridged{ours, bridge})
		if err == nil {
			err = conn.Auth([]dbus.Auth{dbus.AuthExternal("0")})
		}
		if err != nil {
			ours.Close()
			bridge.Wait()
			return nil, err
		}
		return conn, nil
	})
	if err != nil {
		return nil, fmt.Errorf("connect to PID 1: %w", err)
	}
	b := &bus{conn: conn, changed: make(chan struct{}, 1), closed: make(chan struct{})}
	updates, errs := make(chan *systemd1.PropertiesUpdate, 1024), make(chan error, 1024)
	go func() {
		for {
			select {
			case u := <-updates:
				if u.UnitName != b.awaited.Load() {
					continue
				}
			case <-errs: // There were more than we had room for.
			case <-b.closed:
				return
			}
			select {
			case b.changed <- struct{}{}:
			default:
			}
		}
	}()
	conn.SetPropertiesSubscriber(updates, errs)
	if err := conn.Subscribe(); err != nil {
		b.close()
		return nil, fmt.Errorf("subscribe to PID 1: %w", err)
	}
	return b, nil
}

// keepGoing has a child go on whenever it has stopped, until it is waited for. When the
// machine goes down its last process stops all others for a moment. nsenter(1), which is
// not on the machine, stops with its child, and nobody would have it go on. The machine
// would wait 90 seconds for the child.
func keepGoing(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for {
		err := unix.Waitid(unix.P_PIDFD, fd, nil, unix.WSTOPPED, nil)
		if err == nil {
			unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0)
		} else if err != unix.EINTR {
			return // ECHILD: it has been waited for.
		}
	}
}

func (b *bus) close() {
	if b != nil {
		b.conn.Close()
		close(b.closed)
	}
}

// Await waits until asked says yes to the properties of a unit, and returns them. They
// are looked at now, and whenever one has changed.
func (s *System) Await(unit string, timeout time.Duration, asked func(properties map[string]any) bool) (map[string]any, error) {
	late := time.After(timeout)
	s.bus.awaited.Store(unit) // from before the first look
	for {
		properties, err := s.Properties(unit)
		if err != nil || asked(properties) {
			return properties, err
		}
		select {
		case <-s.bus.changed:
		case <-late:
			return properties, fmt.Errorf("wait for %s: not so after %v", unit, timeout)
		}
	}
}

// Properties returns those that systemctl show shows.
func (s *System) Properties(unit string) (map[string]any, error) {
	properties, err := s.bus.conn.GetAllPropertiesContext(context.Background(), unit)
	if err != nil {
		return nil, fmt.Errorf("ask for %s: %w", unit, err)
	}
	return properties, nil
}

// watchEnd returns a pidfd, and waitEnd waits until its process has ended.
func watchEnd(pid int) (*os.File, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open a pidfd of process %d: %w", pid, err)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

func waitEnd(pidfd *os.File, timeout time.Duration) error {
	pidfd.SetReadDeadline(time.Now().Add(timeout))
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0
	})
}

// Stop stops units, and waits until they have stopped. One that is not there is no error.
func (s *System) Stop(timeout time.Duration, units ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	for _, unit := range units {
		done := make(chan string, 1)
		_, err := s.bus.conn.StopUnitContext(ctx, unit, "replace", done)
		if missing := (dbus.Error{}); errors.As(err, &missing) && missing.Name == "org.freedesktop.systemd1.NoSuchUnit" {
			continue
		}
		if err != nil {
			return fmt.Errorf("stop %s: %w", unit, err)
		}
		select {
		case <-done:
		case <-ctx.Done():
			return fmt.Errorf("stop %s: not done after %v", unit, timeout)
		}
	}
	return nil
}

// Forget has none of these units enabled or failed any more, and PID 1 read all unit
// files again.
func (s *System) Forget(units ...string) error {
	ctx := context.Background()
	if _, err := s.bus.conn.DisableUnitFilesContext(ctx, units, false); err != nil {
		return fmt.Errorf("disable %q: %w", units, err)
	}
	if err := s.Reload(); err != nil {
		return err
	}
	for _, unit := range units {
		s.bus.conn.ResetFailedUnitContext(ctx, unit) // One that is not loaded has not failed.
	}
	return nil
}

// Reload has PID 1 read all unit files again.
func (s *System) Reload() error {
	if err := s.bus.conn.ReloadContext(context.Background()); err != nil {
		return fmt.Errorf("have the unit files read again: %w", err)
	}
	return nil
}
