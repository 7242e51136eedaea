//go:build linux

package picture

import (
	"fmt"
	"slices"
	"strings"

	"daemonsteps/internal/checks"
)

// news says in a few words what each step brings.
var news = map[string]string{
	"01-fork":       "runs in the background",
	"02-setsid":     "its own session",
	"03-close-fds":  "no inherited files",
	"04-chdir":      "its own place",
	"05-signals":    "ends and cleans up",
	"06-config":     "is told what to do",
	"07-log":        "says what happens",
	"08-pidfile":    "is one at a time",
	"09-ready":      "says when it is ready",
	"10-refork":     "never gets a terminal back",
	"11-privileges": "has no right too many",
	"12-systemd":    "leaves it to init",
}

// A rung is one step of the scoreboard, by the checks of its style.
type rung struct {
	name  string
	ids   []string // of the checks
	holds []bool
	was   []bool // those that the step before holds
}

// parseBoard reads the scoreboard, and holds it against the tables of checks. The last
// step stays in the foreground: the second table judges it, and the first all others.
func parseBoard(board string) (rungs []rung, err error) {
	sysv, foreground, _ := strings.Cut(strings.TrimSpace(board), "\n\n")
	last := len(checks.Lessons) - 1
	columns, err := parseTable(sysv, "check", checks.SysV, checks.Lessons[:last])
	if err == nil {
		var inForeground []rung
		inForeground, err = parseTable(foreground, "-style new", checks.New, checks.Lessons)
		columns = append(columns, inForeground[max(0, len(inForeground)-1):]...)
	}
	if err != nil {
		return nil, fmt.Errorf("read the scoreboard: %w", err)
	}
	return columns, nil
}

// parseTable reads one of its tables: a head, and a line for each check.
func parseTable(table, title string, style checks.Style, lessons []string) (rungs []rung, err error) {
	lines := strings.Split(table, "\n")
	var numbers []string
	for _, name := range lessons {
		numbers = append(numbers, name[:2])
	}
	if head := strings.Join(strings.Fields(lines[0]), " "); head != title+" "+strings.Join(numbers, " ") {
		return nil, fmt.Errorf("its head is %q, and %s with %q is to stand there", head, title, numbers)
	}
	for _, name := range lessons {
		rungs = append(rungs, rung{name: name})
	}
	if len(lines)-1 != len(style.Checks) {
		return nil, fmt.Errorf("it has %d checks, and there are %d", len(lines)-1, len(style.Checks))
	}
	for i, check := range style.Checks {
		fields := strings.Fields(lines[i+1])
		if len(fields) != len(lessons)+1 || fields[0] != check.ID {
			return nil, fmt.Errorf("its line %d is %q, and check %s is to stand there", i+2, lines[i+1], check.ID)
		}
		was := false
		for r, mark := range fields[1:] {
			if !slices.Contains([]string{"✓", "✗", "–"}, mark) {
				return nil, fmt.Errorf("%s has the mark %q for %s", rungs[r].name, mark, check.ID)
			}
			rungs[r].ids = append(rungs[r].ids, check.ID)
			rungs[r].was = append(rungs[r].was, was)
			was = mark == "✓"
			rungs[r].holds = append(rungs[r].holds, was)
		}
	}
	return rungs, nil
}

// Ladder draws all steps with the checks that each of them meets. It is given the
// scoreboard, as testdata/scoreboard.txt has it.
func Ladder(board string) ([]byte, error) {
	rungs, err := parseBoard(board)
	if err != nil {
		return nil, fmt.Errorf("draw the ladder: %w", err)
	}
	const (
		cellGap  = 4
		cellHigh = 26
		high     = 110
	)
	s := &sheet{w: sheetWidth, title: "The ladder: the steps, and the checks that each of them meets"}
	card := rect{margin, margin, sheetWidth - 2*margin, high}
	cell := (card.w - 2*pad + cellGap) / len(checks.All)
	inset := (card.w - cell*len(checks.All) + cellGap) / 2 // What does not divide stays at the sides.
	square := func(in int, r rect, holds, isNew bool) {
		class, ink := "empty", ""
		switch {
		case isNew:
			class, ink = "tag", "on-tag"
		case holds:
			class, ink = "thing", "quiet"
		}
		f := s.frame(in, class, 3, true, r)
		if holds {
			s.text(f, text{at: point{r.middle(), r.y + 19}, anchor: "middle", size: tagSize, class: ink, s: "✓"})
		}
	}
	var desc []string
	for _, r := range rungs {
		brings, ok := news[r.name]
		if !ok {
			return nil, fmt.Errorf("draw the ladder: no words say what %s brings", r.name)
		}
		f := s.frame(outside, "session", 10, false, card)
		base := card.y + 30
		s.text(f, text{at: point{card.x + inset, base}, size: bigSize, mono: true, bold: true, class: "ink", s: r.name})
		s.text(f, text{at: point{card.x + 180, base}, size: bigSize, class: "ink", s: brings})
		var turned []string
		count := 0
		for c, holds := range r.holds {
			isNew := holds && !r.was[c]
			square(f, rect{card.x + inset + c*cell, base + 12, cell - cellGap, cellHigh}, holds, isNew)
			if isNew {
				turned = append(turned, r.ids[c])
			}
			if holds {
				count++
			}
		}
		total := fmt.Sprintf("%d of %d", count, len(r.holds))
		if len(r.holds) != len(checks.All) {
			total += ", -style new"
		}
		s.text(f, text{at: point{card.right() - inset - width(total, smallSize, false, false), base}, size: smallSize, class: "quiet", s: total})
		x := card.x + inset
		for _, id := range turned {
			id = "✓ " + id
			s.text(f, text{at: point{x, base + 64}, size: smallSize, class: "on-mark", s: id})
			x += width(id, smallSize, false, false) + 10
		}
		desc = append(desc, fmt.Sprintf("%s, %s, meets %s of the checks; new: %s.", r.name, brings, total, strings.Join(turned, ", ")))
		card.y += high + gap
	}

	y := card.y + 8
	x := card.x
	for _, l := range []struct {
		name         string
		holds, isNew bool
	}{{"new", true, true}, {"kept", true, false}, {"not yet", false, false}} {
		square(outside, rect{x, y, cell - cellGap, cellHigh}, l.holds, l.isNew)
		x += cell + 4
		s.text(outside, text{at: point{x, y + 20}, size: smallSize, class: "quiet", s: l.name})
		x += width(l.name, smallSize, false, false) + 24
	}

	y += cellHigh
	s.h = y + margin
	s.desc = strings.Join(desc, " ")
	return s.svg()
}
