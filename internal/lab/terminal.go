//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// openTerminal makes a new pseudoterminal (pty(7)): the master, which we hold as
// a terminal's window would, and the terminal itself, for the processes on it.
func openTerminal() (master, terminal *os.File, name string, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, "", &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
			err = fmt.Errorf("open a terminal: %w", err)
		}
	}()
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, "", err
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, "", err
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80}); err != nil {
		return nil, nil, "", err
	}
	name = fmt.Sprintf("pts/%d", number)
	terminal, err = os.OpenFile("/dev/"+name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, "", err
	}
	return os.NewFile(uintptr(fd), "/dev/ptmx"), terminal, name, nil
}

// enough is how much is kept of what a program says that never stops.
const enough = 1 << 20

// A collector keeps what can be read from a terminal's master or a pipe.
type collector struct {
	file *os.File
	raw  syscall.RawConn
	mu   sync.Mutex
	more *sync.Cond // text or over has changed
	text []byte
	over bool          // it was read to its end, or closed
	done chan struct{} // closed when nobody reads any more
}

func collect(f *os.File) (*collector, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	c := &collector{file: f, raw: raw, done: make(chan struct{})}
	c.more = sync.NewCond(&c.mu)
	go func() {
		defer close(c.done)
		for c.read() {
		}
	}()
	return c, nil
}

// read waits until there is something to read, and keeps it. The lock is held
// from before the read(2), so that no byte is in neither the kernel nor text.
func (c *collector) read() (more bool) {
	buf := make([]byte, 4096)
	err := c.raw.Read(func(fd uintptr) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		n, err := unix.Read(int(fd), buf)
		if err == unix.EAGAIN || err == unix.EINTR {
			return false // raw.Read waits and calls us again.
		}
		if n > 0 && len(c.text) < enough { // The rest is read, and not kept.
			c.text = append(c.text, buf[:n]...)
		}
		more = n > 0 // 0: a pipe's end. EIO from a master: the terminal is hung up.
		return true
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil { // closed
		more = false
	}
	c.over = !more
	c.more.Broadcast()
	return more
}

// written returns all that was written to a pipe before.
func (c *collector) written() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.over && len(c.text) < enough {
		waiting := 0
		c.raw.Control(func(fd uintptr) { waiting, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
		if waiting == 0 {
			break
		}
		c.more.Wait()
	}
	return bytes.Clone(c.text)
}

// ended says whether nobody has the pipe's write end open any more: the kernel
// says POLLHUP of the read end then (poll(2)).
func (c *collector) ended() (bool, error) {
	c.mu.Lock()
	over := c.over
	c.mu.Unlock()
	var events int16
	var err error
	if cerr := c.raw.Control(func(fd uintptr) { events, err = poll(int(fd), 0, 0) }); cerr != nil {
		err = cerr
	}
	return over || events&unix.POLLHUP != 0, err
}

// shown returns all that was written to a terminal before, with a terminal's line ends as
// "\n". The kernel carries it from a terminal to its master in the background,
// but in order: so a mark is written behind it, and the mark is waited for.
func (c *collector) shown(terminal *os.File) []byte {
	mark := []byte("\x00lab\x00")
	_, err := terminal.Write(mark)
	c.mu.Lock()
	defer c.mu.Unlock()
	for err == nil && !c.over && len(c.text) < enough && !bytes.Contains(c.text, mark) {
		c.more.Wait()
	}
	c.text = bytes.ReplaceAll(c.text, mark, nil)
	return bytes.ReplaceAll(c.text, []byte("\r\n"), []byte("\n"))
}

// close closes the file, and returns when it is closed.
func (c *collector) close() {
	c.file.Close()
	<-c.done
}
