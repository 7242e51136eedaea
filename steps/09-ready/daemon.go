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
func daemon(c config, given *flag.FlagSet, dir string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	hangup := make(chan os.Signal, 1) // One that waits stands for all that come.
	signal.Notify(hangup, syscall.SIGHUP)
	// First: what a second daemon undoes might be the first one's.
	if err := lockPIDFile(c); err != nil {
		return err
	}
	root, err := openDir(dir)
	if err != nil {
		return err
	}
	defer undo(&err, func() error { return os.Remove(root.Name()) })
	defer undo(&err, releasePIDFile)
	status, err := serveStatus(root) // If another serves here, DIR/log is its.
	if err != nil {
		return err
	}
	defer undo(&err, status.Close)
	defer undo(&err, func() error { return removeLog(root) })
	if err := sayReady(); err != nil {
		return err
	}
	slog.Info("started", "dir", root.Name())
	tick := time.NewTicker(c.every.Duration)
	for n := 1; ; {
		select {
		case <-tick.C:
			slog.Info(c.text, "n", n)
			status.set(c.text, n)
			n++
		case <-hangup:
			if leadsTo(c.log, held) || leadsTo(c.file, held) { // by now; to close it would unlock it
				slog.Error("nothing opened again: the PID file is the log or the configuration")
				continue
			}
			report("log opened again", log.reopen())
			report("configuration loaded", c.reload(given, tick))
		case <-ctx.Done():
			stop() // A second signal has its default action again: it ends us at once.
			endWithin(grace)
			slog.Info("ending")
			return nil
		}
	}
}
