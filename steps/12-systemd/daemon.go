package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// daemon ticks until SIGTERM or SIGINT asks it to end. It then undoes what it
// did, the last thing first: that is the order in which deferred calls run.
func daemon(c config, given *flag.FlagSet, dir string, pipe int) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	hangup := make(chan os.Signal, 1) // One that waits stands for all that come.
	signal.Notify(hangup, syscall.SIGHUP)
	if err := openLog(); err != nil {
		return err
	}
	n := lastTick()
	status, err := serveStatus(dir)
	if err != nil {
		return err
	}
	defer undo(&err, status.Close)
	watchdog, err := watchdog()
	if err != nil {
		return err
	}
	if err := sayReady(pipe); err != nil {
		return err
	}
	slog.Info("started", "last", n)
	tick := time.NewTicker(c.every.Duration)
	for {
		select {
		case <-tick.C:
			n++
			slog.Info(c.text, "n", n)
			status.set(c.text, n)
			keepTick(n)
		case <-watchdog:
			notify(alive)
		case <-hangup:
			notify(reloading())
			report("configuration loaded", c.reload(given, tick))
			notify(ready)
		case <-ctx.Done():
			stop() // A second signal has its default action again: it ends us at once.
			notify(stopping)
			slog.Info("ending")
			return nil
		}
	}
}
