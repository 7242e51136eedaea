//go:build linux

package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
)

// daemon ticks until SIGTERM or SIGINT asks it to end. SIGHUP has it say once more what
// it is set to. Who connects to a socket that was passed to it is greeted.
func daemon(every time.Duration) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	listeners, err := activation.Listeners()
	if err != nil {
		return err
	}
	for _, l := range listeners {
		go greet(l)
	}
	if err := tell("READY=1"); err != nil {
		return err
	}
	slog.Info("started")
	tick := time.NewTicker(every)
	for {
		select {
		case <-tick.C:
			slog.Info("tick")
		case <-hangup:
			tell(reloading())
			slog.Info("loaded again", "every", every)
			tell("READY=1")
		case <-ctx.Done():
			tell("STOPPING=1")
			return nil
		}
	}
}

func greet(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		client.Write([]byte("hello\n"))
		client.Close()
	}
}
