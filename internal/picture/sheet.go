package picture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"strings"
)

// Sizes of letters. A sheet is 640 wide: at 360 pixels, a telephone's width, they
// are 11 and 10 pixels high.
const (
	sheetWidth = 640
	bigSize    = 20
	smallSize  = 18
)

type point struct{ x, y int }

type rect struct{ x, y, w, h int }

func (r rect) right() int      { return r.x + r.w }
func (r rect) bottom() int     { return r.y + r.h }
func (r rect) middle() int     { return r.x + r.w/2 }
func (r rect) grow(n int) rect { return rect{r.x - n, r.y - n, r.w + 2*n, r.h + 2*n} }

func (r rect) meets(o rect) bool {
	return r.x < o.right() && o.x < r.right() && r.y < o.bottom() && o.y < r.bottom()
}

func (r rect) holds(o rect) bool {
	return r.x <= o.x && o.right() <= r.right() && r.y <= o.y && o.bottom() <= r.bottom()
}

// outside is the number of the frame that encloses what no other frame does: the
// sheet itself.
const outside = -1

// A frame is a rectangle that may have something inside.
type frame struct {
	rect
	in     int    // the frame around it
	class  string // how it looks
	round  int
	closed bool // no line may pass through it
}

// A text is one line of text.
type text struct {
	at     point  // the left or the middle of its base line
	anchor string // "start" or "middle"
	size   int
	mono   bool
	bold   bool
	class  string
	s      string
	in     int // the frame around it
}

// area is the space that the text may need, with any usual font.
func (t text) area() rect {
	w := width(t.s, t.size, t.mono, t.bold)
	r := rect{t.at.x, t.at.y - (t.size*8+9)/10, w, (t.size*21 + 19) / 20}
	if t.anchor == "middle" {
		r.x -= w / 2
	}
	return r
}

// A line leads from one frame to another, through corners.
type line struct {
	points   []point
	class    string
	head     string // "filled", "hollow" or ""
	from, to int    // the frames at its ends
}

// A sheet keeps what is to be drawn, so that it can be looked over first.
type sheet struct {
	w, h        int
	title, desc string
	frames      []frame
	texts       []text
	lines       []line
}

func (s *sheet) frame(in int, class string, round int, closed bool, r rect) int {
	s.frames = append(s.frames, frame{r, in, class, round, closed})
	return len(s.frames) - 1
}

func (s *sheet) text(in int, t text) {
	t.in = in
	if t.anchor == "" {
		t.anchor = "start"
	}
	s.texts = append(s.texts, t)
}

func (s *sheet) line(l line) { s.lines = append(s.lines, l) }

// wide holds the width of letters in thousandths of their size, in the widest of
// the usual fonts without serifs (Verdana, DejaVu Sans).
var wide = map[string]int{
	"ijl'|":                    345,
	" ,.:;!-/()":               460,
	"frt":                      430,
	"mwMW@✓":                   990,
	"ABCDEFGHIJKLNOPQRSTUVXYZ": 790,
}

// width returns how much space s may need.
func width(s string, size int, mono, bold bool) int {
	sum := 0
	for _, r := range s {
		w := 640
		if mono {
			w = 615
		} else {
			for letters, n := range wide {
				if strings.ContainsRune(letters, r) {
					w = n
				}
			}
			if bold {
				w = w * 114 / 100
			}
		}
		sum += w
	}
	return int(math.Ceil(float64(sum*size) / 1000))
}

// check looks the sheet over. Its errors say which things are in each other's way.
func (s *sheet) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	area := func(in int) rect {
		if in == outside {
			return rect{0, 0, s.w, s.h}
		}
		return s.frames[in].rect
	}
	// around says whether frame i is n, or a frame around it.
	around := func(i, n int) bool {
		for ; n != outside; n = s.frames[n].in {
			if n == i {
				return true
			}
		}
		return false
	}
	for i, f := range s.frames {
		if !area(f.in).holds(f.rect) {
			fail("frame %d (%s) %v leaves what is around it, %v", i, f.class, f.rect, area(f.in))
		}
		for j, o := range s.frames[:i] {
			if !around(j, i) && !around(i, j) && f.meets(o.rect) {
				fail("frame %d (%s) %v overlaps frame %d (%s) %v", i, f.class, f.rect, j, o.class, o.rect)
			}
		}
	}
	for i, t := range s.texts {
		a := t.area()
		if !area(t.in).holds(a) {
			fail("text %q %v leaves its frame %v", t.s, a, area(t.in))
		}
		for _, o := range s.texts[:i] {
			if a.meets(o.area()) {
				fail("text %q %v overlaps text %q %v", t.s, a, o.s, o.area())
			}
		}
		for j, f := range s.frames {
			if !around(j, t.in) && a.meets(f.rect) {
				fail("text %q %v overlaps frame %d (%s) %v", t.s, a, j, f.class, f.rect)
			}
		}
		for _, l := range s.lines {
			for _, part := range l.parts() {
				if part.grow(2).meets(a) {
					fail("a line (%s) %v crosses text %q %v", l.class, part, t.s, a)
				}
			}
		}
	}
	for _, l := range s.lines {
		for _, part := range l.parts() {
			if !area(outside).holds(part) {
				fail("a line (%s) %v leaves the sheet", l.class, part)
			}
			for j, f := range s.frames {
				// An end of the line touches its own frame, and what is around that.
				own := l.from != outside && around(j, l.from) || l.to != outside && around(j, l.to)
				if f.closed && !own && part.meets(f.rect) {
					fail("a line (%s) %v crosses frame %d (%s) %v", l.class, part, j, f.class, f.rect)
				}
			}
		}
	}
	return errors.Join(errs...)
}

// parts returns the stretches of a line between its corners.
func (l line) parts() (parts []rect) {
	for i, p := range l.points[1:] {
		q := l.points[i]
		parts = append(parts, rect{min(p.x, q.x), min(p.y, q.y), max(p.x, q.x) - min(p.x, q.x) + 1, max(p.y, q.y) - min(p.y, q.y) + 1})
	}
	return parts
}

// The colours. Whoever reads in the dark gets the second set, if the reader's
// program knows of it; the sheet has a ground of its own, so either can be read
// anywhere.
type palette struct {
	ground, session, group, process, screen, screenInk, ink, quiet, edge, mark, markInk string
}

var (
	light = palette{"#ffffff", "#f0f3f6", "#ffffff", "#dbe9f9", "#24292f", "#ffffff", "#1f2328", "#57606a", "#818b98", "#b34700", "#ffffff"}
	dark  = palette{"#0d1117", "#1c2229", "#0d1117", "#1d3350", "#000000", "#e6edf3", "#e6edf3", "#a3adb8", "#6e7781", "#ff9d45", "#0d1117"}
)

func (p palette) rules() string {
	rules := []string{
		".ground,.panel{fill:" + p.ground + "}",
		".session{fill:" + p.session + ";stroke:" + p.edge + "}",
		".group{fill:" + p.group + ";stroke:" + p.edge + "}",
		".process,.thing{fill:" + p.process + ";stroke:" + p.quiet + "}",
		".ended{fill:" + p.group + ";stroke:" + p.quiet + "}",
		".port{fill:" + p.group + ";stroke:" + p.quiet + "}",
		".empty{fill:" + p.ground + ";stroke:" + p.edge + "}",
		".screen{fill:" + p.screen + ";stroke:" + p.edge + "}",
		".tag{fill:" + p.mark + ";stroke:" + p.mark + "}",
		".rule{stroke:" + p.edge + "}",
		".arrow,.bind{stroke:" + p.ink + "}",
		".parent{stroke:" + p.quiet + "}",
		".new{stroke:" + p.mark + "}",
		".filled{fill:" + p.ink + "}",
		".hollow{fill:" + p.ground + ";stroke:" + p.quiet + "}",
		".filled.new{fill:" + p.mark + "}",
		".hollow.new{stroke:" + p.mark + "}",
		".ink{fill:" + p.ink + "}",
		".quiet{fill:" + p.quiet + "}",
		".on-screen{fill:" + p.screenInk + "}",
		".on-tag{fill:" + p.markInk + "}",
		".on-mark{fill:" + p.mark + "}",
	}
	return strings.Join(rules, "")
}

const shapes = `rect{stroke-width:1.5}` +
	`.ground,.panel{stroke:none}` +
	`polyline{fill:none;stroke-width:2;stroke-linejoin:round}` +
	`.hollow{stroke-width:2}` +
	`.ended{stroke-dasharray:6 5}` +
	`.bind{stroke-width:5}` +
	`rect.new,polyline.new{stroke-width:4}` +
	`text{font-family:sans-serif}` +
	`.mono{font-family:monospace}` +
	`.bold{font-weight:bold}` +
	`.middle{text-anchor:middle}`

// svg returns the sheet as an SVG document, unless something on it is in the way of
// something else.
func (s *sheet) svg() ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("lay out the picture %q: %w", s.title, err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title desc">`+"\n", s.w, s.h, s.w, s.h)
	fmt.Fprintf(&b, "<title id=\"title\">%s</title>\n<desc id=\"desc\">%s</desc>\n", escape(s.title), escape(s.desc))
	fmt.Fprintf(&b, "<style>%s%s@media (prefers-color-scheme: dark){%s}</style>\n", shapes, light.rules(), dark.rules())
	fmt.Fprintf(&b, `<rect class="ground" width="%d" height="%d" rx="8"/>`+"\n", s.w, s.h)
	for _, f := range s.frames {
		if f.class == "panel" {
			continue // It is there for the layout alone.
		}
		fmt.Fprintf(&b, `<rect class="%s" x="%d" y="%d" width="%d" height="%d" rx="%d"/>`+"\n", f.class, f.x, f.y, f.w, f.h, f.round)
	}
	for _, l := range s.lines {
		b.WriteString(l.svg())
	}
	for _, t := range s.texts {
		class := t.class
		if t.mono {
			class += " mono"
		}
		if t.bold {
			class += " bold"
		}
		if t.anchor == "middle" {
			class += " middle"
		}
		fmt.Fprintf(&b, `<text class="%s" x="%d" y="%d" font-size="%d">%s</text>`+"\n", class, t.at.x, t.at.y, t.size, escape(t.s))
	}
	b.WriteString("</svg>\n")
	return b.Bytes(), nil
}

// headLength is the length of an arrow's head.
const headLength = 12

func (l line) svg() string {
	points := append([]point(nil), l.points...)
	head := ""
	if l.head != "" {
		end, before := points[len(points)-1], points[len(points)-2]
		dx, dy := sign(end.x-before.x), sign(end.y-before.y)
		base := point{end.x - dx*headLength, end.y - dy*headLength}
		points[len(points)-1] = base
		class := l.head
		if strings.HasSuffix(l.class, " new") {
			class += " new"
		}
		const half = 6
		head = fmt.Sprintf(`<path class="%s" d="M%d %dL%d %dL%d %dZ"/>`+"\n", class,
			end.x, end.y, base.x-dy*half, base.y+dx*half, base.x+dy*half, base.y-dx*half)
	}
	var b strings.Builder
	for i, p := range points {
		if i > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, "%d,%d", p.x, p.y)
	}
	return fmt.Sprintf(`<polyline class="%s" points="%s"/>`+"\n", l.class, b.String()) + head
}

func sign(n int) int { return min(1, max(-1, n)) }

func escape(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s))
	return b.String()
}
