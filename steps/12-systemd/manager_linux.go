package main

import (
	"log/slog"
	"time"

	manager "github.com/coreos/go-systemd/v22/daemon"
)

// What we tell the service manager (sd_notify(3)).
const (
	ready    = manager.SdNotifyReady
	stopping = manager.SdNotifyStopping
	alive    = manager.SdNotifyWatchdog
)

// reloading says since when we load the configuration again. By the time systemd can
// tell our answer to its SIGHUP from an older one (Type=notify-reload, since 253).
func reloading() string {
	return manager.SdNotifyReloading + "\n" + manager.SdNotifyMonotonicUsec()
}

// tell tells the service manager, at the socket that $NOTIFY_SOCKET names. Without one
// nobody is told, and that is no error.
func tell(state string) error {
	_, err := manager.SdNotify(false, state)
	return err
}

// notify is tell for a daemon that runs. If it is not heard that must not end it: the
// service manager has a watchdog, and starts us again if we are silent.
func notify(state string) {
	if err := tell(state); err != nil {
		slog.Warn("the service manager was not told", "error", err)
	}
}

// watchdog ticks when it is time to say that we are alive: twice in the time after which
// the service manager takes us for frozen ($WATCHDOG_USEC). Without one it never does.
func watchdog() (<-chan time.Time, error) {
	every, err := manager.SdWatchdogEnabled(false)
	if every == 0 || err != nil {
		return nil, err
	}
	return time.Tick(every / 2), nil
}
