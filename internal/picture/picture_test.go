//go:build linux

package picture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// scenes returns two scenes as the steps make them, fresh at each call.
func scenes() (before, after Scene) {
	shell := Process{Role: Shell, Session: Shell, Group: Shell, Terminal: true, Note: Prompt}
	launcher := Process{Role: Launcher, Ended: true, Parent: Shell, Session: Shell, Group: Job, Terminal: true}
	before = Scene{Command: []string{"01-fork"}, Terminal: "pts", Processes: []Process{{Role: Subreaper}, shell, launcher, {
		Role: Daemon, Parent: Subreaper, Session: Shell, Group: Job, Terminal: true, Cwd: "caller's dir", Umask: "0022",
		Descriptors: []Descriptor{{"0", Terminal}, {"1", Terminal}, {"2", Terminal}},
	}}}
	after = Scene{Command: []string{"04-chdir"}, Terminal: "pts", Processes: []Process{{Role: Subreaper}, shell, launcher, {
		Role: Daemon, Parent: Subreaper, Session: Daemon, Group: Daemon, Cwd: "/", Umask: "0077",
		Descriptors: []Descriptor{{"0", Null}, {"1", Null}, {"2", Null}, {"", Directory}},
	}}, Dirs: map[string]*Dir{Directory: {"0700", []File{{Name: "ticks"}}}}, Then: &Then{"after SIGTERM", []Card{
		{Kind: Ended, Title: Daemon, Lines: []string{"exit status 0"}}, {Kind: Ended, Title: "nothing left"}}}}
	return before, after
}

func draw(t *testing.T, before, after Scene) string {
	t.Helper()
	svg, err := Draw("a title & more", before, after)
	if err != nil {
		t.Fatal(err)
	}
	return string(svg)
}

// TestDraw holds that a picture is well-formed, tells in words what it shows, and has
// its colours for the dark.
func TestDraw(t *testing.T) {
	before, after := scenes()
	svg := draw(t, before, after)
	if svg != draw(t, before, after) {
		t.Error("drawn twice, it differs")
	}
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{
		`role="img" aria-labelledby="title desc"`,
		`<title id="title">a title &amp; more</title>`,
		"Descriptors 0, 1, 2 lead to the terminal. Its working directory is the caller&#39;s dir. Its umask is 0022.",
		"It leads a session of its own, with no controlling terminal, and is in a process group of its own.",
		"Then: after SIGTERM. Daemon: exit status 0. Nothing left.",
		"@media (prefers-color-scheme: dark)",
		`<rect class="ground"`,
		`class="session new"`, `class="group new"`, `class="arrow new"`, `class="thing new"`, ">new<",
	} {
		if !strings.Contains(svg, want) {
			t.Errorf("the picture lacks %s", want)
		}
	}
	// What is not inherited any more is marked, too.
	after.Processes[3].Descriptors = after.Processes[3].Descriptors[:3]
	before.Processes[3].Descriptors = append(before.Processes[3].Descriptors, Descriptor{"9", Held})
	if svg := draw(t, before, after); !strings.Contains(svg, ">closed<") || !strings.Contains(svg, "Descriptor 9 leads to the caller&#39;s file.") {
		t.Error("the picture does not show that descriptor 9 is closed")
	}
	// Beside itself a scene has nothing new. The legend says "new" once.
	same := draw(t, before, before)
	if n := strings.Count(same, ` new"`) + strings.Count(same, ">new<"); n != 1 {
		t.Errorf("a scene beside itself has %d marks, and 1 is the legend's", n)
	}
}

// TestChangedFact holds that each fact of a scene is in the picture: with one of them
// changed, it is another.
func TestChangedFact(t *testing.T) {
	before, after := scenes()
	svg := draw(t, before, after)
	changes := map[string]func(s *Scene, daemon *Process){
		"command":      func(s *Scene, _ *Process) { s.Command = []string{"xyz"} },
		"terminal":     func(s *Scene, _ *Process) { s.Terminal = "tty" },
		"role":         func(s *Scene, _ *Process) { s.Processes[2].Role = "child" },
		"fewer":        func(s *Scene, _ *Process) { s.Processes = slices.Delete(s.Processes, 2, 3) },
		"parent":       func(_ *Scene, d *Process) { d.Parent = "" },
		"ended":        func(s *Scene, _ *Process) { s.Processes[2].Ended = false },
		"note":         func(s *Scene, _ *Process) { s.Processes[1].Note = Waits },
		"session":      func(_ *Scene, d *Process) { d.Session, d.Group = Shell, Job },
		"group":        func(_ *Scene, d *Process) { d.Group = Shell },
		"ctty":         func(s *Scene, _ *Process) { s.Processes[1].Terminal, s.Processes[2].Terminal = false, false },
		"cwd":          func(_ *Scene, d *Process) { d.Cwd = "/tmp" },
		"umask":        func(_ *Scene, d *Process) { d.Umask = "0000" },
		"target":       func(_ *Scene, d *Process) { d.Descriptors[0].Target = Terminal },
		"descriptor":   func(_ *Scene, d *Process) { d.Descriptors = d.Descriptors[:3] },
		"leak":         func(_ *Scene, d *Process) { d.Descriptors[3] = Descriptor{"9", Held} },
		"mode":         func(s *Scene, _ *Process) { s.Dirs[Directory].Mode = "0755" },
		"file":         func(s *Scene, _ *Process) { s.Dirs[Directory].Files = nil },
		"no directory": func(s *Scene, _ *Process) { s.Dirs = nil },
		"no end":       func(s *Scene, _ *Process) { s.Then = nil },
		"how":          func(s *Scene, _ *Process) { s.Then.Cards[0].Lines[0] = "killed by SIGTERM" },
		"file note":    func(s *Scene, _ *Process) { s.Dirs[Directory].Files[0].Note = "s" },
		"fact":         func(_ *Scene, d *Process) { d.Facts = []string{"reads"} },
		"did":          func(s *Scene, _ *Process) { s.Then.Did = "after SIGHUP" },
		"kind":         func(s *Scene, _ *Process) { s.Then.Cards[0].Kind = Alive },
		"title":        func(s *Scene, _ *Process) { s.Then.Cards[1].Title = "much left" },
		"leads":        func(s *Scene, _ *Process) { s.Then.Cards[0].Leads = true },
		"card file":    func(s *Scene, _ *Process) { s.Then.Cards[0].Files = []File{{Name: "ticks"}} },
		"card":         func(s *Scene, _ *Process) { s.Cards = []Card{{Kind: Thing, Title: "conf"}} },
	}
	for name, change := range changes {
		before, after := scenes()
		change(&after, &after.Processes[3])
		if draw(t, before, after) == svg {
			t.Errorf("%s: another fact, and the same picture", name)
		}
	}
}

// TestBrief holds what a brief picture leaves out, and what not.
func TestBrief(t *testing.T) {
	ports := func(change func(before, after *Scene)) int {
		before, after := scenes()
		before.Processes[3].Descriptors = slices.Clone(after.Processes[3].Descriptors)
		before.Dirs = map[string]*Dir{Directory: {"0700", []File{{Name: "ticks"}}}}
		before.Brief, after.Brief = true, true
		change(&before, &after)
		return strings.Count(draw(t, before, after), `class="port`)
	}
	for _, c := range []struct {
		name   string
		change func(before, after *Scene)
		want   int
	}{
		{"nothing new", func(_, _ *Scene) {}, 0},
		{"not brief", func(before, after *Scene) { before.Brief, after.Brief = false, false }, 2 * 5},
		{"another file in the directory", func(_, after *Scene) { after.Dirs[Directory].Files[0].Name = "log" }, 2 * 2},
		{"another target", func(_, after *Scene) { after.Processes[3].Descriptors[3].Target = TmpDir }, 2 + 1},
	} {
		if got := ports(c.change); got != c.want {
			t.Errorf("%s: %d ports and files, and not %d", c.name, got, c.want)
		}
	}
	before, after := scenes()
	for _, s := range []*Scene{&before, &after} {
		s.Cards = []Card{{Kind: Thing, Title: "conf", Files: []File{{Name: "x"}}}}
	}
	if strings.Contains(draw(t, before, after), ">conf<") {
		t.Error("a card that is the same in both is drawn")
	}
	before.Cards[0].Files = append(before.Cards[0].Files, File{Name: "y"})
	if svg := draw(t, before, after); strings.Count(svg, ">y<") != 2 || strings.Count(svg, ">gone<") != 1 {
		t.Error("what is in a card no more is not said to be gone")
	}
}

// TestTooLong holds that a label which does not fit is an error, and not a picture.
func TestTooLong(t *testing.T) {
	const long = "much too long for a picture"
	for name, change := range map[string]func(s *Scene){
		"command":  func(s *Scene) { s.Command = []string{long + long} },
		"role":     func(s *Scene) { s.Processes[2].Role = long },
		"cwd":      func(s *Scene) { s.Processes[3].Cwd = long },
		"terminal": func(s *Scene) { s.Terminal = long },
		"fact":     func(s *Scene) { s.Processes[3].Facts = []string{long} },
		"card":     func(s *Scene) { s.Cards = []Card{{Kind: Thing, Title: long + long}} },
		"did":      func(s *Scene) { s.Then.Did = long + long },
		"file":     func(s *Scene) { s.Dirs[Directory].Files[0].Name = long + long },
		"end":      func(s *Scene) { s.Then.Cards[0].Lines[0] = long + long },
	} {
		before, after := scenes()
		change(&after)
		if _, err := Draw("", before, after); err == nil || !strings.Contains(err.Error(), "lay out the picture") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCheck holds that the check of a sheet finds each thing that is in the way of
// another, and nothing on a sheet that is in order.
func TestCheck(t *testing.T) {
	sheetOf := func() *sheet {
		s := &sheet{w: 200, h: 200}
		s.frame(outside, "thing", 0, true, rect{10, 10, 80, 80})
		s.frame(outside, "thing", 0, true, rect{110, 10, 80, 80})
		s.text(0, text{at: point{12, 40}, size: 20, s: "abc"})
		s.line(line{points: []point{{90, 20}, {110, 20}}, from: 0, to: 1})
		return s
	}
	if err := sheetOf().check(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(s *sheet){
		`text "abc" {12 44 39 21} overlaps text "abc"`:   func(s *sheet) { s.text(0, text{at: point{12, 60}, size: 20, s: "abc"}) },
		`text "abcdefghi" {`:                             func(s *sheet) { s.texts[0].s = "abcdefghi" },
		`overlaps frame 1`:                               func(s *sheet) { s.text(outside, text{at: point{95, 80}, size: 20, s: "abc"}) },
		`leaves what is around it`:                       func(s *sheet) { s.frame(0, "port", 0, false, rect{80, 70, 20, 10}) },
		`around it, {0 0 200 200}`:                       func(s *sheet) { s.frame(outside, "thing", 0, false, rect{150, 150, 60, 10}) },
		`frame 2 (thing) {100 0 20 20} overlaps frame 1`: func(s *sheet) { s.frame(outside, "thing", 0, false, rect{100, 0, 20, 20}) },
		`crosses text "abc"`: func(s *sheet) {
			s.line(line{points: []point{{0, 35}, {40, 35}}, from: 0, to: 0})
		},
		`crosses frame 1`: func(s *sheet) {
			s.line(line{points: []point{{90, 70}, {195, 70}}, from: 0, to: outside})
		},
		`leaves the sheet`: func(s *sheet) {
			s.line(line{points: []point{{190, 70}, {210, 70}}, from: 1, to: outside})
		},
	} {
		s := sheetOf()
		spoil(s)
		if err := s.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got: %v", want, err)
		}
	}
}

func TestLadder(t *testing.T) {
	text, err := os.ReadFile("../../testdata/scoreboard.txt")
	if err != nil {
		t.Fatal(err)
	}
	board := string(text)
	svg, err := Ladder(board)
	if err != nil {
		t.Fatal(err)
	}
	if want := "02-setsid, its own session, meets 6 of 25 of the checks; new: session, terminal, hangup, interrupt."; !bytes.Contains(svg, []byte(want)) {
		t.Errorf("the ladder lacks %q", want)
	}
	// With a check lost, the ladder is another.
	lost := strings.Replace(board, "terminal    ✗   ✓", "terminal    ✗   ✗", 1)
	if other, err := Ladder(lost); lost == board || err != nil || bytes.Equal(other, svg) {
		t.Errorf("another scoreboard (%v) gives the same ladder (%v)", lost != board, err)
	}
	for want, spoiled := range map[string]string{
		"its head is":     strings.Replace(board, "02", "20", 1),
		"it has 9":        board[:strings.LastIndex(strings.TrimSpace(board), "\n")],
		"is to stand":     strings.Replace(board, "orphan", "parent", 1),
		`has the mark "x`: strings.Replace(board, "✗", "x", 1),
	} {
		if _, err := Ladder(spoiled); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got: %v", want, err)
		}
	}
}
