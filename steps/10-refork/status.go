package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// A statusServer serves the status on a socket in the daemon's directory: who connects
// is told one line. It is the work that this daemon accepts.
type statusServer struct {
	net.Listener
	line atomic.Value
}

// serveStatus listens on the socket DIR/status, and says that the daemon is ready: who
// connects from now on is answered, even if that takes a while.
func serveStatus(root *os.Root) (*statusServer, error) {
	listener, err := net.Listen("unix", filepath.Join(root.Name(), "status"))
	if err != nil {
		return nil, fmt.Errorf("serve the status: %w", err)
	}
	s := &statusServer{Listener: listener}
	s.set("started", 0)
	go s.serve()
	if err := sayReady(); err != nil {
		listener.Close()
		return nil, err
	}
	return s, nil
}

func (s *statusServer) set(what string, n int) {
	s.line.Store(fmt.Sprintf("pid %d: %s %d\n", os.Getpid(), what, n))
}

func (s *statusServer) serve() {
	for {
		client, err := s.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // No descriptor is free, for one. The client waits.
			time.Sleep(10 * time.Millisecond)
			continue
		}
		// It fits in the socket's buffer: nobody has to read for us to go on.
		client.Write([]byte(s.line.Load().(string)))
		client.Close()
	}
}
