package picture

import (
	"slices"
	"strings"
)

// Distances on the sheet.
const (
	margin   = 12 // around the sheet
	between  = 26 // between before and after
	gutter   = 18 // at a panel's sides, for long arrows
	pad      = 8  // inside a frame
	gap      = 8  // between neighbours
	row      = 25 // from one line of text to the next
	tagSize  = 16
	tagHigh  = 22
	portWide = 28
	portHigh = 26
	barDown  = 9 // how far below the ports they are joined
	channel  = 12
)

var tagWide = width("new", tagSize, false, true) + 10

// Draw draws two scenes side by side, and marks what after has and before has not.
// An error says that something does not fit.
func Draw(title string, before, after Scene) ([]byte, error) {
	before, after = before.without(after), after.without(before)
	s := &sheet{w: sheetWidth, title: title,
		desc: "Before: " + before.words() + " After: " + after.words()}
	wide := (sheetWidth - 2*margin - between) / 2
	lines := max(len(before.Command), len(after.Command))
	bottom := 0
	panels := []*panel{
		{scene: before, head: "before"},
		{scene: after, head: "after", was: &before},
	}
	for i, p := range panels {
		p.sheet = s
		p.top = 14 + (lines-1)*row
		if after.process(Subreaper) != nil && before.process(Subreaper) == nil || after.process(Manager) != nil {
			p.top += tagHigh // For the tag; both panels go on at one height.
		}
		bottom = max(bottom, p.draw(margin+i*(wide+between), wide))
	}
	from := bottom + 16
	for _, p := range panels {
		if p.scene.Then != nil {
			bottom = max(bottom, p.then(from))
		}
	}
	bottom += gap
	for i := range s.frames {
		if s.frames[i].class == "panel" {
			s.frames[i].h = bottom - s.frames[i].y
		}
	}
	s.line(line{points: []point{{sheetWidth / 2, margin}, {sheetWidth / 2, bottom}}, class: "rule", from: outside, to: outside})
	s.h = s.legend(bottom+14) + margin
	return s.svg()
}

// legend says what the arrows are, and returns where it ends.
func (s *sheet) legend(y int) int {
	const sample = 34
	base := y + 20
	s.line(line{points: []point{{margin, y}, {sheetWidth - margin, y}}, class: "rule", from: outside, to: outside})
	base += 10
	x := margin + 4
	for _, l := range []struct{ name, class, head string }{
		{"parent", "parent", "hollow"}, {"descriptor", "arrow", "filled"}, {"controlling terminal", "bind", ""},
	} {
		s.line(line{points: []point{{x, base - 6}, {x + sample, base - 6}}, class: l.class, head: l.head, from: outside, to: outside})
		x += sample + 6
		s.text(outside, text{at: point{x, base}, size: smallSize, class: "quiet", s: l.name})
		x += width(l.name, smallSize, false, false) + 14
	}
	s.tag(outside, x, base-17)
	return base + 6
}

// A panel is one half of the sheet.
type panel struct {
	*sheet
	head  string
	scene Scene
	was   *Scene // what to compare with; nil for the first half
	frame int
	area  rect
	top   int // the space above the terminal

	boxes    map[string]int // the frames of processes
	sessions map[string]int // and of sessions
	bundles  []drawnBundle
}

// A drawnBundle is where some descriptors stand.
type drawnBundle struct {
	ports  []rect
	holder int // the frame of their process
	target string
	isNew  bool
}

// A block is something of a known size that can be put somewhere, in a frame.
type block struct {
	w, h int
	put  func(in int, r rect)
}

func (p *panel) draw(x, w int) (bottom int) {
	p.area = rect{x, margin, w, 0}
	p.frame = p.sheet.frame(outside, "panel", 0, false, rect{x, margin, w, 1 << 20})
	p.boxes, p.sessions = map[string]int{}, map[string]int{}

	y := margin + 20
	p.text(p.frame, text{at: point{x, y}, size: 22, bold: true, class: "ink", s: p.head})
	y += row
	for i, part := range p.scene.Command {
		at := point{x, y + i*row}
		switch {
		case p.scene.Terminal == "": // Nobody has typed it.
		case i == 0:
			part = "$ " + part
		default:
			at.x += width("$ ", smallSize, true, false)
		}
		p.text(p.frame, text{at: at, size: smallSize, mono: true, class: "quiet", s: part})
	}

	// The terminal, and beside it whoever gets the orphans.
	y += p.top
	const high = 60
	screen := outside // if there is none
	if p.scene.Terminal != "" {
		screen = p.sheet.frame(p.frame, "screen", 4, true, rect{x, y, 122, high})
		for i, s := range []string{Terminal, p.scene.Terminal} {
			p.text(screen, text{at: point{x + 11, y + 25 + i*row}, size: bigSize - 2*i, mono: i == 1, class: "on-screen", s: s})
		}
	}
	if q := p.scene.process(Subreaper); q == nil {
		if q = p.scene.process(Manager); q != nil {
			r := rect{x, y, w, 40}
			p.boxes[q.Role] = p.sheet.frame(p.frame, mark("process", p.lacked(q.Role)), 10, true, r)
			p.text(p.boxes[q.Role], text{at: point{r.middle(), y + 27}, anchor: "middle", size: bigSize, class: "ink", s: q.Role})
			if p.lacked(q.Role) {
				p.tag(p.frame, r.right()-tagWide-pad, y-tagHigh)
			}
		}
	} else {
		const wide = 124
		r := rect{x + w - wide, y, wide, high}
		p.boxes[q.Role] = p.sheet.frame(p.frame, mark("process", p.lacked(q.Role)), 10, true, r)
		first, second, _ := strings.Cut(q.Role, " or ")
		for i, s := range []string{first + " or", second} {
			p.text(p.boxes[q.Role], text{at: point{r.middle(), y + 25 + i*row}, anchor: "middle", size: bigSize, class: "ink", s: s})
		}
		if p.lacked(q.Role) {
			p.tag(p.frame, r.right()-tagWide-pad, y-tagHigh)
		}
	}
	y += high + 20

	// The sessions, one below the other.
	inner := rect{x + gutter, y, w - 2*gutter, 0}
	for _, leader := range p.leaders() {
		b := p.session(leader)
		b.put(p.frame, rect{inner.x, y, inner.w, b.h})
		y += b.h + gap + 4
	}

	// What the descriptors lead to.
	y += len(p.bundles) * channel / 2
	low := y + channel
	bottom, things := p.things(low)
	for i, b := range p.bundles {
		p.bundle(b, i, y, screen, things)
	}
	p.parents(x + w - pad)
	for leader, session := range p.sessions {
		if q := p.scene.process(leader); q != nil && q.Terminal {
			at := point{x + gutter + 24, p.frames[session].y}
			p.line(line{points: []point{{at.x, p.frames[screen].bottom()}, at}, class: "bind", from: screen, to: session})
		}
	}
	for _, c := range p.scene.Cards {
		var old *Card
		if p.was != nil {
			if old = cardOf(p.was.Cards, c.Title); old == nil {
				old = &Card{}
			}
		}
		bottom = p.frames[p.card(c, old, bottom+gap)].bottom()
	}
	return bottom
}

// lacked says whether what we compare with has no such process.
func (p *panel) lacked(role string) bool { return p.was != nil && p.was.process(role) == nil }

// mark adds the class of what is new.
func mark(class string, isNew bool) string {
	if isNew {
		return class + " new"
	}
	return class
}

func (s *sheet) tag(in, x, y int) {
	tag := s.frame(in, "tag", 4, false, rect{x, y, tagWide, tagHigh})
	s.text(tag, text{at: point{x + tagWide/2, y + 16}, anchor: "middle", size: tagSize, bold: true, class: "on-tag", s: "new"})
}

// leaders returns the roles that sessions are called by, in order.
func (p *panel) leaders() (list []string) {
	for _, q := range p.scene.Processes {
		if q.Session != "" && !slices.Contains(list, q.Session) {
			list = append(list, q.Session)
		}
	}
	return list
}

// session returns the frame of a session, with its process groups side by side, or
// one below the other if they are too wide for that.
func (p *panel) session(leader string) block {
	in := func(s *Scene, group string) (list []Process) {
		for _, q := range s.Processes {
			if q.Session == leader && (group == "" || q.Group == group) {
				list = append(list, q)
			}
		}
		return list
	}
	isNew := p.was != nil && len(in(p.was, "")) == 0
	members := in(&p.scene, "")
	var groups []block
	var names []string
	for _, q := range members {
		if slices.Contains(names, q.Group) {
			continue
		}
		names = append(names, q.Group)
		newGroup := p.was != nil && len(in(p.was, q.Group)) == 0
		groups = append(groups, p.group(in(&p.scene, q.Group), newGroup, newGroup && !isNew))
	}
	title := []string{leader + "'s session"}
	if !slices.ContainsFunc(members, func(q Process) bool { return q.Terminal }) {
		title = append(title, "no terminal")
	}
	inside := p.area.w - 2*gutter - 2*pad
	content := rowOf(groups)
	if content.w > inside {
		content = stackOf(groups)
	}
	return p.framed("session", 12, title, isNew, isNew, content, func(f int) { p.sessions[leader] = f })
}

func (p *panel) group(members []Process, isNew, tagged bool) block {
	var list []block
	for _, q := range members {
		list = append(list, p.process(q))
	}
	content := stackOf(list)
	if len(members[len(members)-1].Descriptors) > 0 {
		content.h += barDown
	}
	return p.framed("group", 8, []string{"group"}, isNew, tagged, content, func(int) {})
}

// framed puts a frame with a title around a block, and a tag on top if asked.
func (p *panel) framed(class string, round int, title []string, isNew, tagged bool, content block, placed func(int)) block {
	head := 4
	wide := content.w
	for _, s := range title {
		head += row - 1
		wide = max(wide, width(s, smallSize, false, false))
	}
	head += 4
	top := 0
	if tagged {
		top = tagHigh
	}
	return block{wide + 2*pad, top + head + content.h + pad, func(in int, r rect) {
		if tagged {
			p.tag(in, r.right()-tagWide-round, r.y)
		}
		r.y, r.h = r.y+top, r.h-top
		f := p.sheet.frame(in, mark(class, isNew), round, false, r)
		placed(f)
		for i, s := range title {
			p.text(f, text{at: point{r.x + pad + 1, r.y + 20 + i*(row-1)}, size: smallSize, class: "quiet", s: s})
		}
		content.put(f, rect{r.x + pad, r.y + head, r.w - 2*pad, content.h})
	}}
}

func rowOf(list []block) block {
	b := block{w: -gap}
	for _, c := range list {
		b.w += c.w + gap
		b.h = max(b.h, c.h)
	}
	b.put = func(in int, r rect) {
		for i, c := range list {
			w := c.w
			if i == len(list)-1 {
				w = r.w // The last one gets what is left.
			}
			c.put(in, rect{r.x, r.y, w, c.h})
			r.x, r.w = r.x+w+gap, r.w-w-gap
		}
	}
	return b
}

func stackOf(list []block) block {
	b := block{h: -gap}
	for _, c := range list {
		b.w = max(b.w, c.w)
		b.h += c.h + gap
	}
	b.put = func(in int, r rect) {
		for _, c := range list {
			c.put(in, rect{r.x, r.y, r.w, c.h})
			r.y += c.h + gap
		}
	}
	return b
}

// A label is one line of text in the box of a process.
type label struct {
	s           string
	big, strong bool
	isNew       bool
}

func (p *panel) process(q Process) block {
	old := p.was.process(q.Role)
	isNew := p.lacked(q.Role)
	labels := []label{{s: q.Role, big: true}}
	if q.Ended {
		labels = append(labels, label{s: "ended"})
	}
	if q.Note != "" {
		labels = append(labels, label{s: q.Note, strong: old != nil && old.Note != q.Note})
	}
	for _, f := range q.Facts {
		labels = append(labels, label{s: f, strong: old != nil && !slices.Contains(old.Facts, f)})
	}
	if q.Cwd != "" {
		labels = append(labels, label{s: "cwd: " + q.Cwd, isNew: old != nil && old.Cwd != q.Cwd})
	}
	if q.Umask != "" {
		labels = append(labels, label{s: "umask: " + q.Umask, isNew: old != nil && old.Umask != q.Umask})
	}
	b := block{h: 5}
	for _, l := range labels {
		size := smallSize
		if l.big {
			size = bigSize
		}
		w := width(l.s, size, false, l.strong)
		if l.isNew {
			w += 8 + tagWide
		}
		b.w = max(b.w, w+2*pad)
		b.h += row
	}
	b.h += 5
	if len(q.Descriptors) > 0 {
		b.h += portHigh + 3
	}
	wide, ports := p.ports(q, old)
	b.w = max(b.w, wide+2*pad)
	class := "process"
	if q.Ended {
		class = "ended"
	}
	top := 0
	if isNew {
		top = tagHigh
		b.h += top
	}
	b.put = func(in int, r rect) {
		if isNew {
			p.tag(in, r.right()-tagWide-pad, r.y)
		}
		r.y, r.h = r.y+top, r.h-top
		f := p.sheet.frame(in, mark(class, isNew), 10, true, r)
		p.boxes[q.Role] = f
		y := r.y + 5
		for _, l := range labels {
			t := text{at: point{r.x + pad + 1, y + 19}, size: smallSize, class: "ink", s: l.s}
			switch {
			case l.big:
				t.size = bigSize
			case l.strong:
				t.bold, t.class = true, "on-mark"
			}
			p.text(f, t)
			if l.isNew {
				p.tag(f, t.at.x+width(l.s, t.size, false, false)+8, y+2)
			}
			y += row
		}
		ports(f, r)
	}
	return b
}

// ports returns how wide the ports of a process's descriptors are, and what draws
// them at the bottom of its box. A descriptor that only before has is drawn empty.
func (p *panel) ports(q Process, old *Process) (wide int, put func(holder int, box rect)) {
	all := bundles(q.Descriptors)
	var gone []string
	if old != nil {
		for _, d := range old.Descriptors {
			if d.inherited() && !slices.ContainsFunc(q.Descriptors, func(now Descriptor) bool { return now.Number == d.Number }) {
				gone = append(gone, d.Number)
			}
		}
	}
	const apart = 10
	for _, b := range all {
		wide += len(b.numbers)*portWide + apart
	}
	if len(gone) > 0 {
		wide += len(gone)*portWide + 6 + width("closed", smallSize, false, true)
	} else {
		wide -= apart
	}
	return wide, func(holder int, box rect) {
		x, y := box.x+pad, box.bottom()-portHigh
		port := func(class, textClass, number string) rect {
			r := rect{x, y, portWide, portHigh}
			f := p.sheet.frame(holder, class, 2, false, r)
			if number == "" {
				number = "n"
			}
			p.text(f, text{at: point{r.middle(), y + 19}, anchor: "middle", size: smallSize, mono: true, class: textClass, s: number})
			x += portWide
			return r
		}
		for _, b := range all {
			d := drawnBundle{holder: holder, target: b.target}
			for _, n := range b.numbers {
				lacked := old != nil && !slices.ContainsFunc(old.Descriptors, func(o Descriptor) bool { return o.Number == n })
				d.isNew = d.isNew || old != nil && !slices.Contains(old.Descriptors, Descriptor{n, b.target})
				d.ports = append(d.ports, port(mark("port", lacked), "ink", n))
			}
			p.bundles = append(p.bundles, d)
			x += apart
		}
		for _, n := range gone {
			port("ended", "quiet", n)
		}
		if len(gone) > 0 {
			p.text(holder, text{at: point{x + 6, y + 19}, size: smallSize, bold: true, class: "on-mark", s: "closed"})
		}
	}
}

// things draws what descriptors lead to below the sessions, apart from the
// terminal, each below its descriptors if there is room.
func (p *panel) things(y int) (bottom int, frames map[string]int) {
	type thing struct {
		name  string
		isNew bool
		b     block
		x     int
	}
	var list []thing
	for _, b := range p.bundles {
		if b.target == Terminal || slices.ContainsFunc(list, func(t thing) bool { return t.name == b.target }) {
			continue
		}
		t := thing{name: b.target, isNew: p.was != nil && !p.was.leadsTo(b.target)}
		mono := strings.HasPrefix(t.name, "/")
		t.b = block{width(t.name, smallSize, mono, false) + 2*pad, 36, func(in int, r rect) {
			p.text(in, text{at: point{r.middle(), r.y + 24}, anchor: "middle", size: smallSize, mono: mono, class: "ink", s: t.name})
		}}
		if d := p.scene.Dirs[t.name]; d != nil {
			var old *Dir
			if p.was != nil && !t.isNew {
				old = p.was.Dirs[t.name]
			}
			t.b = p.dir(t.name, d, old)
		}
		if t.isNew {
			t.b.w = max(t.b.w, 2*(tagWide+2*pad+2)) // The arrow ends beside the tag.
		}
		t.x = b.ports[0].x + (b.ports[len(b.ports)-1].right()-b.ports[0].x-t.b.w)/2
		list = append(list, t)
	}
	right, top := p.area.right(), y
	for i, t := range slices.Backward(list) {
		list[i].x = min(t.x, right-t.b.w)
		right = list[i].x - 10
		if t.isNew {
			top = y + tagHigh - channel
		}
	}
	left := p.area.x
	bottom, frames = y, map[string]int{}
	for _, t := range list {
		r := rect{max(left, t.x), top, t.b.w, t.b.h}
		left = r.right() + 10
		if t.isNew {
			p.tag(p.frame, r.right()-tagWide-pad, top-tagHigh)
		}
		frames[t.name] = p.sheet.frame(p.frame, mark("thing", t.isNew), 4, true, r)
		t.b.put(frames[t.name], r)
		bottom = max(bottom, r.bottom())
	}
	return bottom, frames
}

// leadsTo says whether some descriptor leads to target.
func (s *Scene) leadsTo(target string) bool {
	return slices.ContainsFunc(s.Processes, func(q Process) bool {
		return slices.ContainsFunc(q.Descriptors, func(d Descriptor) bool { return d.Target == target })
	})
}

// fileHigh is the height of a file in a directory, with the space below it.
const fileHigh = 34

// dir returns what stands in the frame of a directory. What old has not is marked.
func (p *panel) dir(name string, d, old *Dir) block {
	head := []string{name, "mode " + d.Mode}
	wide, files := p.files(d.Files, nil)
	if old != nil {
		wide, files = p.files(d.Files, &old.Files)
	}
	b := block{w: wide, h: pad + len(head)*row + len(d.Files)*fileHigh + 4}
	for _, s := range head {
		b.w = max(b.w, width(s, smallSize, false, false)+2*pad)
	}
	b.put = func(in int, r rect) {
		y := r.y + pad
		for _, s := range head {
			p.text(in, text{at: point{r.x + pad + 1, y + 16}, size: smallSize, class: "ink", s: s})
			y += row
		}
		files(in, point{r.x, y})
	}
	return b
}

// files returns how wide the files of a directory are, and what draws them one below
// the other. What old has not is marked.
func (p *panel) files(list []File, old *[]File) (wide int, put func(in int, at point)) {
	named := func(list []File, name string) bool {
		return slices.ContainsFunc(list, func(f File) bool { return f.Name == name })
	}
	for _, f := range list {
		w := width(f.Name, smallSize, true, false) + 4*pad
		if f.Note != "" {
			w += pad + width(f.Note, smallSize, false, true)
		}
		wide = max(wide, w)
	}
	return wide, func(in int, at point) {
		for _, f := range list {
			isNew := old != nil && !named(*old, f.Name)
			w := width(f.Name, smallSize, true, false) + 2*pad
			box := p.sheet.frame(in, mark("port", isNew), 2, false, rect{at.x + pad, at.y, w, 30})
			p.text(box, text{at: point{at.x + 2*pad, at.y + 21}, size: smallSize, mono: true, class: "ink", s: f.Name})
			if f.Note != "" {
				t := text{at: point{at.x + 2*pad + w, at.y + 21}, size: smallSize, class: "ink", s: f.Note}
				if p.was != nil && (old == nil || !slices.Contains(*old, f)) {
					t.bold, t.class = true, "on-mark"
				}
				p.text(in, t)
			}
			at.y += fileHigh
		}
	}
}

// bundle draws the arrow of some descriptors. Each has a height of its own, so that
// no two run into one another.
func (p *panel) bundle(b drawnBundle, i, y, screen int, things map[string]int) {
	class, head := mark("arrow", b.isNew), "filled"
	first, last := b.ports[0], b.ports[len(b.ports)-1]
	from := point{(first.middle() + last.middle()) / 2, first.bottom()}
	if len(b.ports) > 1 {
		bar := from.y + barDown
		p.line(line{points: []point{{first.middle(), from.y}, {first.middle(), bar}, {last.middle(), bar}, {last.middle(), from.y}},
			class: class, from: b.holder, to: b.holder})
	}
	turn := y - channel/2 + i*channel/2
	if b.target == Terminal {
		x := p.area.x + pad
		p.line(line{points: []point{from, {from.x, turn}, {x, turn}, {x, p.frames[screen].bottom()}},
			class: class, head: head, from: b.holder, to: screen})
		return
	}
	to := things[b.target]
	r := p.frames[to].rect
	points := []point{from, {from.x, r.y}}
	free := r.right() - 2*pad
	if slices.Contains(strings.Fields(p.frames[to].class), "new") {
		free -= tagWide // The tag stands there.
	}
	if x := min(max(from.x, r.x+2*pad), free); x != from.x {
		points = []point{from, {from.x, turn}, {x, turn}, {x, r.y}}
	}
	p.line(line{points: points, class: class, head: head, from: b.holder, to: to})
}

// parents draws an arrow from each process to its parent.
func (p *panel) parents(side int) {
	for _, q := range p.scene.Processes {
		up, ok := p.boxes[q.Parent]
		if !ok {
			continue
		}
		isNew := false
		if old := p.was.process(q.Role); old != nil {
			isNew = old.Parent != q.Parent
		}
		child := p.boxes[q.Role]
		from, to := p.frames[child].rect, p.frames[up].rect
		l := line{class: mark("parent", isNew), head: "hollow", from: child, to: up}
		y := from.y + 5 + row/2
		switch {
		case q.Parent == Subreaper || q.Parent == Manager:
			l.points = []point{{from.right(), y}, {side, y}, {side, to.bottom()}}
		case from.y > to.bottom(): // One below the other.
			x := min(from.right(), to.right()) - 3*pad
			if parent := p.scene.process(q.Parent); parent.Session != q.Session {
				x -= tagWide - 10 // The tag of a new session stands there.
			}
			l.points = []point{{x, from.y}, {x, to.bottom()}}
		default:
			l.points = []point{{from.x, y}, {to.right(), y}}
		}
		p.line(l)
	}
}

// then draws what was done next, and what came of it.
func (p *panel) then(y int) (bottom int) {
	now := p.scene.Then
	x := p.area.x
	p.line(line{points: []point{{x, y}, {p.area.right(), y}}, class: "rule", from: outside, to: outside})
	p.text(p.frame, text{at: point{x, y + 27}, size: smallSize, class: "quiet", s: now.Did})
	y += 40
	from := outside // The card above, if a line leads from it to this one.
	for i, c := range now.Cards {
		var old *Card
		if p.was != nil && p.was.Then != nil {
			if old = p.was.Then.card(c.Title); old == nil {
				old = &Card{}
			}
		}
		in := p.card(c, old, y)
		r := p.frames[in].rect
		bottom = r.bottom()
		if from != outside {
			x := r.x + pad + portWide/2
			l := line{points: []point{{x, p.frames[from].bottom()}, {x, r.y}}, class: "bind", from: from, to: in}
			if c.Kind == Thing {
				l.class, l.head = mark("arrow", strings.HasSuffix(p.frames[in].class, "new")), "filled"
			}
			p.line(l)
			from = outside
		}
		y = bottom + gap
		if c.Leads && i+1 < len(now.Cards) {
			from, y = in, bottom+between
		}
	}
	return bottom
}

// card draws a card as wide as the panel, and returns its frame. What old has not is
// marked; nil is for a card that is compared with none.
func (p *panel) card(c Card, old *Card, y int) int {
	x := p.area.x
	known := func(s string) bool { return old == nil || slices.Contains(append(old.Lines, old.Title), s) }
	lines := append([]string{c.Title}, c.Lines...)
	isNew := slices.ContainsFunc(lines, func(s string) bool { return !known(s) })
	round, size, ink := 10, bigSize, "ink"
	switch {
	case c.Kind == Thing || len(c.Lines) == 0:
		round, size = 4, smallSize
	case c.Kind == Screen:
		round, ink = 4, "on-screen"
	}
	high := 5 + row*len(lines) + 5
	// What is in it no more is drawn empty.
	var was *[]File
	var gone []File
	if old != nil && old.Title != "" {
		was = &old.Files
		for _, f := range old.Files {
			if !slices.ContainsFunc(c.Files, func(now File) bool { return now.Name == f.Name }) {
				gone = append(gone, f)
			}
		}
	}
	if n := len(c.Files) + len(gone); n > 0 {
		high += n*fileHigh + 2
	}
	in := p.sheet.frame(p.frame, mark(string(c.Kind), isNew), round, true, rect{x, y, p.area.w, high})
	y += 5
	for i, s := range lines {
		p.text(in, text{at: point{x + pad + 1, y + 19}, size: size, class: ink, s: s})
		// One tag is enough for what is new as a whole.
		if !known(s) && (i == 0 || known(c.Title)) {
			p.tag(in, p.area.right()-tagWide-pad, y+2)
		}
		size = smallSize
		y += row
	}
	y += 3
	_, files := p.files(c.Files, was)
	files(in, point{x, y})
	for i, f := range gone {
		r := rect{x + pad, y + (len(c.Files)+i)*fileHigh, width(f.Name, smallSize, true, false) + 2*pad, 30}
		box := p.sheet.frame(in, "ended", 2, false, r)
		p.text(box, text{at: point{r.x + pad, r.y + 21}, size: smallSize, mono: true, class: "quiet", s: f.Name})
		p.text(in, text{at: point{r.right() + pad, r.y + 21}, size: smallSize, bold: true, class: "on-mark", s: "gone"})
	}
	return in
}
