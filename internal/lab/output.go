//go:build linux

package lab

import (
	"bytes"
	"errors"
	"regexp"
	"strings"
	"time"
)

// Reading is the argument of WaitOutput.
type Reading struct {
	ID      int
	Text    string
	Timeout time.Duration
	From    int // for WaitScreen
}

// WaitOutput waits until text has come out on the terminal, or with Command.Pipe
// on standard output.
func (s *Session) WaitOutput(text string, timeout time.Duration) error {
	return s.lab.call("WaitOutput", Reading{ID: s.Info.ID, Text: text, Timeout: timeout}, &Nothing{})
}

// WaitScreen waits until what came out from a place on matches a pattern (package
// regexp), and returns all that has come out so far. Places count the bytes that
// came before, with line ends as "\n".
func (s *Session) WaitScreen(from int, pattern string, timeout time.Duration) (string, error) {
	var text string
	return text, s.lab.call("WaitScreen", Reading{s.Info.ID, pattern, timeout, from}, &text)
}

// StopReading closes the pipes that are the command's standard output and error
// at the reader's end. Who writes to one after that gets SIGPIPE (pipe(7)).
func (s *Session) StopReading() error {
	return s.lab.call("StopReading", s.Info.ID, &Nothing{})
}

func (g *Guardian) WaitOutput(r Reading, _ *Nothing) error {
	s, err := g.session(r.ID)
	if err != nil {
		return err
	}
	c := s.screen
	if len(s.pipes) > 0 {
		c = s.pipes[0]
	}
	if !c.wait(r.Timeout, func(b []byte) bool { return bytes.Contains(b, []byte(r.Text)) }) {
		return g.timeout("no %q in the output after %v", r.Text, r.Timeout)
	}
	return nil
}

func (g *Guardian) WaitScreen(r Reading, reply *string) error {
	s, err := g.session(r.ID)
	if err != nil {
		return err
	}
	pattern, err := regexp.Compile(r.Text)
	if err != nil {
		return err
	}
	if s.screen == nil {
		return errors.New("read the terminal: the command has none")
	}
	found := s.screen.wait(r.Timeout, func(b []byte) bool {
		*reply = strings.ReplaceAll(string(b), "\r\n", "\n")
		return len(*reply) >= r.From && pattern.MatchString((*reply)[r.From:])
	})
	if !found {
		return g.timeout("nothing like %q on the terminal after %v, but %q", r.Text, r.Timeout, (*reply)[min(r.From, len(*reply)):])
	}
	return nil
}

func (g *Guardian) StopReading(id int, _ *Nothing) error {
	s, err := g.session(id)
	if err != nil {
		return err
	}
	for _, p := range s.pipes {
		p.close()
	}
	return nil
}

// wait says whether what was read so far comes to be as asked, at the latest after
// the timeout.
func (c *collector) wait(timeout time.Duration, asked func([]byte) bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	deadline := time.Now().Add(timeout)
	wake := time.AfterFunc(timeout, func() {
		c.mu.Lock() // Not between our look at the clock and our Wait: it would be lost.
		defer c.mu.Unlock()
		c.more.Broadcast()
	})
	defer wake.Stop()
	for !asked(c.text) {
		if c.over || !time.Now().Before(deadline) {
			return false
		}
		c.more.Wait()
	}
	return true
}

// count returns how often text was read so far.
func (c *collector) count(text string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Count(c.text, []byte(text))
}
