//go:build linux

package checks

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

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
	b := &bench{ctx: ctx, args: append([]string{path}, args[1:]...), timeout: o.Timeout}
	f := &facts{timeout: o.Timeout}
	if err := b.runJob(f); err != nil {
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
	unsteady, err := b.runRest(f, o.Checks)
	if err != nil {
		return nil, err
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

// runRest does the runs, but the job, that the checks need; two at a time, since
// they mostly wait. The map tells which of them came to nothing, and why: a
// program may start well once and not the next time.
func (b *bench) runRest(f *facts, checks []Check) (map[need]error, error) {
	var needs need
	for _, c := range checks {
		needs |= c.needs
	}
	runs := []struct {
		need need
		run  func() error
	}{
		{needDirect, func() error { return b.runDirect(f) }}, // the longest first
		{needScript, func() error { return b.runScript(f) }},
		{needPipe, func() error { return b.runPipe(f) }},
		{needSignals, func() error { return b.runSignals(f, syscall.SIGTERM) }},
		{needSignals, func() error { return b.runSignals(f, syscall.SIGINT) }},
	}
	var mu sync.Mutex
	unsteady := map[need]error{}
	var failed error
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2)
	for _, r := range runs {
		if needs&r.need == 0 {
			continue
		}
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer wg.Done()
			err := r.run()
			<-slots
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, errUnsteady) || errors.Is(err, ErrNoDaemon) {
				unsteady[r.need] = err
			} else if failed == nil {
				failed = err
			}
		}()
	}
	wg.Wait()
	return unsteady, failed
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
