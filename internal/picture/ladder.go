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
}

// planned are the steps of the course, also those that are still to be written.
var planned = []string{
	"01-fork", "02-setsid", "03-close-fds", "04-chdir", "05-signals",
	"06-config", "07-log", "08-pidfile", "09-ready", "10-refork", "11-privileges", "12-systemd",
}

// A rung is one step of the scoreboard.
type rung struct {
	name  string
	holds []bool // by the order of the checks
}

// parseBoard reads the scoreboard, and holds it against the table of checks.
func parseBoard(board string) (rungs []rung, err error) {
	lines := strings.Split(strings.TrimSpace(board), "\n")
	head := strings.Fields(lines[0])
	want := []string{"check"} // and the steps by their numbers
	for _, name := range checks.Lessons {
		want = append(want, name[:2])
	}
	if !slices.Equal(head, want) {
		return nil, fmt.Errorf("read the scoreboard: its head is %q, and %q is to stand there", head, want)
	}
	for _, name := range checks.Lessons {
		rungs = append(rungs, rung{name: name})
	}
	if len(lines)-1 != len(checks.All) {
		return nil, fmt.Errorf("read the scoreboard: it has %d checks, and there are %d", len(lines)-1, len(checks.All))
	}
	for i, check := range checks.All {
		fields := strings.Fields(lines[i+1])
		if len(fields) != len(head) || fields[0] != check.ID {
			return nil, fmt.Errorf("read the scoreboard: its line %d is %q, and check %s is to stand there", i+2, lines[i+1], check.ID)
		}
		for r, mark := range fields[1:] {
			if !slices.Contains([]string{"✓", "✗", "–"}, mark) {
				return nil, fmt.Errorf("read the scoreboard: %s has the mark %q for %s", rungs[r].name, mark, check.ID)
			}
			rungs[r].holds = append(rungs[r].holds, mark == "✓")
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
	for i, r := range rungs {
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
			isNew := holds && (i == 0 || !rungs[i-1].holds[c])
			square(f, rect{card.x + inset + c*cell, base + 12, cell - cellGap, cellHigh}, holds, isNew)
			if isNew {
				turned = append(turned, checks.All[c].ID)
			}
			if holds {
				count++
			}
		}
		total := fmt.Sprintf("%d of %d", count, len(r.holds))
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

	// The steps to come, in as many lines as they need.
	var coming []string
	for _, name := range planned {
		if !slices.Contains(checks.Lessons, name) {
			coming = append(coming, name)
		}
	}
	y += cellHigh
	if len(coming) > 0 {
		desc = append(desc, "To come: "+strings.Join(coming, ", ")+".")
		y += 16
		s.line(line{points: []point{{margin, y}, {sheetWidth - margin, y}}, class: "rule", from: outside, to: outside})
		y += 28
		x = margin
		s.text(outside, text{at: point{x, y}, size: smallSize, class: "quiet", s: "to come"})
		x += width("to come", smallSize, false, false) + 18
		start := x
		for _, name := range coming {
			w := width(name, smallSize, true, false)
			if x+w > sheetWidth-margin {
				x, y = start, y+row+3
			}
			s.text(outside, text{at: point{x, y}, size: smallSize, mono: true, class: "quiet", s: name})
			x += w + 18
		}
	}
	s.h = y + margin
	s.desc = strings.Join(desc, " ")
	return s.svg()
}
