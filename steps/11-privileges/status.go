package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// A statusServer serves the status on a socket in the daemon's directory: who connects
// is told one line. It is the work that this daemon accepts.
type statusServer struct {
	root     *os.Root
	listener *net.UnixListener
	line     atomic.Value
}

// serveStatus listens on the socket DIR/status. Who connects from now on is answered,
// even if that takes a while.
func serveStatus(root *os.Root) (*statusServer, error) {
	address := &net.UnixAddr{Name: filepath.Join(root.Name(), "status")}
	if most := len(syscall.RawSockaddrUnix{}.Path) - 1; len(address.Name) > most {
		return nil, fmt.Errorf("serve the status: %s is longer than a socket's name, which has at most %d bytes", address.Name, most)
	}
	listener, err := net.ListenUnix("unix", address)
	if errors.Is(err, syscall.EADDRINUSE) && leftOver(root, address) && root.Remove("status") == nil {
		listener, err = net.ListenUnix("unix", address)
	}
	if err != nil {
		return nil, fmt.Errorf("serve the status: %w", err)
	}
	listener.SetUnlinkOnClose(false) // Close does that, by a surer way.
	s := &statusServer{root: root, listener: listener}
	s.set("started", 0)
	go s.serve(listener)
	return s, nil
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

// Close ends the service and removes the socket.
func (s *statusServer) Close() error {
	s.listener.Close()
	return s.root.Remove("status")
}

// set sets what is told from now on.
func (s *statusServer) set(what string, n int) {
	s.line.Store(fmt.Sprintf("pid %d: %s %d\n", os.Getpid(), what, n))
}

func (s *statusServer) serve(listener net.Listener) {
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
