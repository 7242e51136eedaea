//go:build linux

package checks

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"daemonsteps/internal/lab"
	"daemonsteps/internal/proc"
)

// A Report is what isdaemon -json prints.
type Report struct {
	// Command is the command as it was given.
	Command []string `json:"command"`
	// Style is the name of the style.
	Style string `json:"style"`
	// Daemon is the state of the daemon, read from /proc when its launcher had ended,
	// or, of the new style, when it was at rest; null if there was none.
	Daemon *proc.Process `json:"daemon"`
	// Checks are the results, in the order of the lessons.
	Checks  []Result `json:"checks"`
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Skipped int      `json:"skipped"`
}

// A Result is what one check came to.
type Result struct {
	ID      string  `json:"id"`
	Lesson  int     `json:"lesson"`
	Verdict Verdict `json:"verdict"` // "pass", "fail" or "skip"
	// Evidence is what was seen; with "skip" it is why nothing was judged.
	Evidence string `json:"evidence"`
	Source   string `json:"source"`
}

// Options say what to judge.
type Options struct {
	Style   Style         // SysV, if it has no name
	Checks  []Check       // of that style; all, if empty
	Timeout time.Duration // for the command's end, and the daemon's; 5 s if 0
	// Starts is how often to start the program directly on a terminal; 20 if 0.
	// What a race decides goes right now and then, but hardly 20 times in a row.
	Starts int

	// What is known of the program. A check that needs to know what is not given
	// skips. A path that is relative counts from the TMPDIR of each start, and may be
	// a pattern (package path/filepath, Match).
	BadArgs  []string // arguments that the command has to refuse
	BadStart []string // arguments with which the daemon cannot start
	Log      string   // the log, which is opened again on SIGHUP
	PIDFile  string   // the PID file
	Socket   string   // a socket that the daemon serves: a path, or a TCP host:port
	User     string   // the name of the user that the daemon becomes
	Activate string   // "unix" or "tcp": the daemon, of the new style, is passed such a socket
}

// Run starts a program as often as the checks need, and judges it by them. Its
// arguments are a command line; the program is looked up in $PATH.
//
// The error says why there is no judgement: no such program, no daemon left
// behind (ErrNoDaemon), a lab that failed, or a context that ended. Nothing that
// Run started is left when it returns.
func Run(ctx context.Context, args []string, o Options) (*Report, error) {
	if o.Style.Name == "" {
		o.Style = SysV
	}
	if len(o.Checks) == 0 {
		o.Checks = o.Style.Checks
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	path, err := find(args[0])
	if err != nil {
		return nil, err
	}
	if o.Starts == 0 {
		o.Starts = 20
	}
	b := &bench{ctx: ctx, args: append([]string{path}, args[1:]...), Options: o}
	for _, c := range o.Checks {
		if c.given == nil || c.given(o) {
			b.needs |= c.needs
		}
	}
	if _, err := os.Lstat(o.Log); err == nil {
		b.logWasThere = true
	}
	if _, err := os.Lstat(o.PIDFile); filepath.IsAbs(o.PIDFile) && err != nil {
		defer os.Remove(o.PIDFile) // Daemons that we ended by SIGKILL leave theirs.
	}
	f := &facts{options: o}
	var unsteady map[need]error
	err = b.with(func(l *lab.Lab) error {
		lost := o.Style.run(b, l, f)
		if lost != nil && !errors.Is(lost, errUnsteady) || f.job.daemon == nil {
			return lost
		}
		var err error
		if unsteady, err = b.runRest(l, f); err == nil && lost != nil {
			unsteady[f.job.lost] = lost
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	report := &Report{Command: args, Style: o.Style.Name, Daemon: f.job.daemon}
	if f.job.daemon == nil {
		// There is only one thing to say of a program that leaves no daemon.
		first := o.Style.Checks[0]
		for _, c := range o.Checks {
			verdict, evidence := Skip, "there is no daemon to judge: see "+first.ID
			if c.ID == first.ID {
				verdict, evidence = first.judge(f)
			} else if len(o.Checks) == 1 {
				_, evidence = first.judge(f)
			}
			report.add(c, verdict, evidence)
		}
		return report, nil
	}
	for _, c := range o.Checks {
		if c.given != nil && !c.given(o) {
			report.add(c, Skip, c.flag+" is not given")
			continue
		}
		verdict, evidence := Skip, ""
		for n, err := range unsteady {
			if c.needs&n != 0 {
				evidence = err.Error()
			}
		}
		if evidence == "" {
			verdict, evidence = c.judge(f)
		}
		report.add(c, verdict, evidence)
	}
	return report, nil
}

// runRest does the runs, but the job, that the checks need: one after the other, since
// a daemon may be one that runs once on a machine. The map tells which came to
// nothing, and why: a program may start well once and not the next time.
func (b *bench) runRest(l *lab.Lab, f *facts) (map[need]error, error) {
	unsteady := map[need]error{}
	for _, r := range []struct {
		need need
		run  func(*lab.Lab, *facts) error
	}{
		{needPipe, b.runPipe}, {needSignals, b.runSignals}, {needDirect, b.runDirect},
		{needFaults, b.runFaults}, {needSingle, b.runSingle}, {needReady, b.runReady}, {needTold, b.runTold},
	} {
		if b.needs&r.need == 0 {
			continue
		}
		if err := r.run(l, f); errors.Is(err, errUnsteady) {
			unsteady[r.need] = err
		} else if err != nil {
			return nil, err
		}
	}
	return unsteady, nil
}

func (r *Report) add(c Check, v Verdict, evidence string) {
	r.Checks = append(r.Checks, Result{c.ID, c.Lesson, v, evidence, c.Source})
	switch v {
	case Pass:
		r.Passed++
	case Fail:
		r.Failed++
	case Skip:
		r.Skipped++
	}
}
