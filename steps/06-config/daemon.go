package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// daemon ticks until SIGTERM or SIGINT asks it to end. It then undoes what it
// did, the last thing first: that is the order in which deferred calls run.
func daemon(c config, given *flag.FlagSet, dir string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	hangup := make(chan os.Signal, 1) // One that waits stands for all that come.
	signal.Notify(hangup, syscall.SIGHUP)
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer undo(&err, func() error { return os.Remove(root.Name()) })
	ticks, err := root.OpenFile("ticks", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("create the file in %s: %w", root.Name(), err)
	}
	defer undo(&err, func() error { return root.Remove("ticks") })
	tick := time.NewTicker(c.every.Duration)
	for n := 1; ; {
		say := "configuration loaded"
		select {
		case <-tick.C:
			say = fmt.Sprintf("%s %d", c.text, n)
			n++
		case <-hangup:
			if err := c.reload(given, tick); err != nil {
				say = err.Error()
			}
		case <-ctx.Done():
			stop() // A second signal has its default action again: it ends us at once.
			endWithin(grace)
			return nil
		}
		_, err := fmt.Fprintf(ticks, "daemon %d: %s\n", os.Getpid(), say)
		if err != nil {
			return err
		}
	}
}
