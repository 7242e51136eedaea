//go:build linux

package checks

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"daemonsteps/internal/lab"
	"daemonsteps/internal/proc"
)

// A Report is what isdaemon -json prints.
type Report struct {
	// Command is the command as it was given.
	Command []string `json:"command"`
	// Daemon is the state of the daemon, read from /proc after its launcher had
	// ended; null if there was none.
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
	Checks  []Check       // All, if empty
	Timeout time.Duration // for the command's end, and the daemon's; 5 s if 0
	// Starts is how often to start the program directly on a terminal; 20 if 0.
	// What a race decides goes right now and then, but hardly 20 times in a row.
	Starts int
}

// Run starts a program as often as the checks need, and judges it by them. Its
// arguments are a command line; the program is looked up in $PATH.
//
// The error says why there is no judgement: no such program, no daemon left
// behind (ErrNoDaemon), a lab that failed, or a context that ended. Nothing that
// Run started is left when it returns.
func Run(ctx context.Context, args []string, o Options) (*Report, error) {
	if len(o.Checks) == 0 {
		o.Checks = All
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
	b := &bench{ctx: ctx, args: append([]string{path}, args[1:]...), timeout: o.Timeout, starts: o.Starts}
	f := &facts{timeout: o.Timeout}
	var unsteady map[need]error
	err = b.with(func(l *lab.Lab) error {
		err := b.runJob(l, f)
		if errors.Is(err, errUnsteady) {
			unsteady, err = map[need]error{needJob: err}, nil
		} else if err == nil && f.job.daemon != nil {
			unsteady, err = b.runRest(l, f, o.Checks)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	report := &Report{Command: args, Daemon: f.job.daemon}
	if f.job.daemon == nil {
		// There is only one thing to say of a program that leaves no daemon.
		for _, c := range o.Checks {
			verdict, evidence := Skip, "there is no daemon to judge: see background"
			if c.ID == "background" {
				verdict, evidence = judgeBackground(f)
			} else if len(o.Checks) == 1 {
				_, evidence = judgeBackground(f)
			}
			report.add(c, verdict, evidence)
		}
		return report, nil
	}
	for _, c := range o.Checks {
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

// runRest does the runs, but the job, that the checks need, on two labs at a time
// since a run mostly waits. The map tells which came to nothing, and why: a
// program may start well once and not the next time.
func (b *bench) runRest(l *lab.Lab, f *facts, checks []Check) (map[need]error, error) {
	var needs need
	for _, c := range checks {
		needs |= c.needs
	}
	type run struct {
		need need
		run  func(*lab.Lab, *facts) error
	}
	queue := make(chan run, 3)
	for _, r := range []run{{needDirect, b.runDirect}, {needPipe, b.runPipe}, {needSignals, b.runSignals}} {
		if needs&r.need != 0 {
			queue <- r
		}
	}
	close(queue)

	var mu sync.Mutex
	unsteady := map[need]error{}
	work := func(l *lab.Lab) error {
		for r := range queue {
			err := r.run(l, f)
			if errors.Is(err, errUnsteady) {
				mu.Lock()
				unsteady[r.need] = err
				mu.Unlock()
			} else if err != nil {
				return err
			}
		}
		return nil
	}
	if len(queue) < 2 {
		return unsteady, work(l)
	}
	second := make(chan error)
	go func() { second <- b.with(work) }()
	err := work(l)
	return unsteady, cmp.Or(err, <-second)
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
