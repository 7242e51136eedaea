package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// A statusServer serves the status: who connects is told one line. It is the work that
// this daemon accepts.
type statusServer struct {
	listeners []net.Listener
	own       *os.Root       // the directory of a socket that we have made, or nil
	serving   sync.WaitGroup // one for each listener
	line      atomic.Value
}

// serveStatus listens on the sockets that were passed to us (sd_listen_fds(3)), or
// else on DIR/status, or else nowhere. Who connects from now on is answered, even if
// that takes a while. A passed socket is there before us, and stays: who connects
// before we start, or while we start again, waits in its queue.
func serveStatus(dir string) (*statusServer, error) {
	s := &statusServer{}
	var err error
	if s.listeners, err = activation.Listeners(); err != nil {
		return nil, fmt.Errorf("serve the status: %w", err)
	}
	for i, listener := range s.listeners {
		if listener == nil {
			return nil, fmt.Errorf("serve the status: descriptor %d, passed to us, is no listening stream socket", 3+i)
		}
		if socket, ok := listener.(*net.UnixListener); ok {
			socket.SetUnlinkOnClose(false) // It is not ours.
		}
	}
	if len(s.listeners) == 0 && dir != "" {
		if err := s.listen(dir); err != nil {
			return nil, fmt.Errorf("serve the status: %w", err)
		}
	}
	s.set("started", 0)
	for _, listener := range s.listeners {
		s.serving.Add(1)
		go s.serve(listener)
	}
	return s, nil
}

// listen makes a socket DIR/status.
func (s *statusServer) listen(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	address := &net.UnixAddr{Name: filepath.Join(root.Name(), "status")}
	if most := len(syscall.RawSockaddrUnix{}.Path) - 1; len(address.Name) > most {
		return fmt.Errorf("%s is longer than a socket's name, which has at most %d bytes", address.Name, most)
	}
	listener, err := net.ListenUnix("unix", address)
	if errors.Is(err, syscall.EADDRINUSE) && leftOver(root, address) && root.Remove("status") == nil {
		listener, err = net.ListenUnix("unix", address)
	}
	if err != nil {
		return err
	}
	listener.SetUnlinkOnClose(false) // Close does that, by a surer way.
	s.listeners, s.own = []net.Listener{listener}, root
	return nil
}

// leftOver says whether the socket is one of a daemon that was killed: nobody listens.
func leftOver(root *os.Root, address *net.UnixAddr) bool {
	info, err := root.Lstat("status")
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	peer, err := net.DialUnix("unix", nil, address)
	if err == nil {
		peer.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// Close ends the service, when all whom we have taken from the queue are answered, and
// removes the socket if it is ours.
func (s *statusServer) Close() error {
	for _, listener := range s.listeners {
		listener.Close()
	}
	s.serving.Wait()
	if s.own == nil {
		return nil
	}
	return s.own.Remove("status")
}

// set sets what is told from now on.
func (s *statusServer) set(what string, n int) {
	s.line.Store(fmt.Sprintf("pid %d: %s %d\n", os.Getpid(), what, n))
}

func (s *statusServer) serve(listener net.Listener) {
	defer s.serving.Done()
	for {
		client, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // No descriptor is free, for one. The client waits.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		// A line (maxLine) fits in the socket's buffer: nobody has to read for us to go on.
		client.Write([]byte(s.line.Load().(string)))
		client.Close()
	}
}
