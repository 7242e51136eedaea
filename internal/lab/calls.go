//go:build linux

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
)

// A Lab calls its guardian over a socket pair, one call at a time, in JSON.
// net/rpc would do that and more, but its import of net/http makes every start of
// a program that uses it three times as slow, and a lab is many starts.
type (
	request struct {
		Method string
		Args   json.RawMessage
	}
	response struct {
		Reply   json.RawMessage `json:",omitempty"`
		Error   string          `json:",omitempty"`
		Timeout bool            `json:",omitempty"` // Error wraps ErrTimeout.
	}
)

// SocketPair returns two connected sockets, the second for a child.
func SocketPair() (ours, theirs *os.File, err error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a socket pair: %w", err)
	}
	return os.NewFile(uintptr(pair[0]), "socket"), os.NewFile(uintptr(pair[1]), "socket"), nil
}

// inheritedSocket returns the socket that a child finds as descriptor 3.
func inheritedSocket() (*os.File, error) {
	syscall.CloseOnExec(3)
	if err := syscall.SetNonblock(3, true); err != nil {
		return nil, fmt.Errorf("use descriptor 3: %w", err)
	}
	return os.NewFile(3, "socket"), nil
}

// A caller makes calls.
type caller struct {
	mu   sync.Mutex
	conn *os.File
	in   *json.Decoder
	out  *json.Encoder
}

func newCaller(conn *os.File) *caller {
	return &caller{conn: conn, in: json.NewDecoder(conn), out: json.NewEncoder(conn)}
}

// call makes one call. The far end's errors come back as text, but for ErrTimeout.
func (c *caller) call(method string, args, reply any) error {
	text, err := json.Marshal(args)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var r response
	if err = c.out.Encode(request{method, text}); err == nil {
		err = c.in.Decode(&r)
	}
	if err == io.EOF {
		err = errors.New("it is gone")
	}
	if err != nil {
		return fmt.Errorf("call the guardian: %w", err)
	}
	switch {
	case r.Timeout:
		return fmt.Errorf("%w: %s", ErrTimeout, strings.TrimPrefix(r.Error, ErrTimeout.Error()+": "))
	case r.Error != "":
		return errors.New(r.Error)
	}
	return json.Unmarshal(r.Reply, reply)
}

// A handler answers the calls of one method.
type handler func(args json.RawMessage) (any, error)

// handle makes a handler of a method.
func handle[A, R any](method func(A, *R) error) handler {
	return func(text json.RawMessage) (any, error) {
		var args A
		var reply R
		if err := json.Unmarshal(text, &args); err != nil {
			return nil, err
		}
		err := method(args, &reply)
		return reply, err
	}
}

// serve answers calls until the far end closes the connection. It does not wait
// for a call that is still under way then.
func serve(conn *os.File, handlers map[string]handler) {
	in, out := json.NewDecoder(conn), json.NewEncoder(conn)
	for {
		var req request
		if err := in.Decode(&req); err != nil {
			return
		}
		go func() { // The next call comes when this one is answered.
			var r response
			reply, err := handlers[req.Method](req.Args)
			if err == nil {
				r.Reply, err = json.Marshal(reply)
			}
			if err != nil {
				r = response{Error: err.Error(), Timeout: errors.Is(err, ErrTimeout)}
			}
			out.Encode(r)
		}()
	}
}
