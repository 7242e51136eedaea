// Package picture draws what one step of the course changes: a process with all
// that holds it, before the step and after it, side by side.
//
// A Scene holds the facts of one real run, with roles in place of numbers and
// paths. Draw gets two Scenes, and nothing else: it compares them, and marks what
// the second has and the first has not. A small fact (a note, the working
// directory, the umask, an inherited descriptor) that is the same in both is left
// out, so that a picture shows what its lesson is about. Below the processes stands
// what was done to the daemon next, and what came of it.
package picture

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// The roles of processes. A picture has no pids: they differ from run to run.
const (
	Shell     = "shell"
	Launcher  = "launcher"
	Leader    = "leader" // of the daemon's session, if that is another process
	Daemon    = "daemon"
	Subreaper = "init or subreaper" // who gets the orphans
	Manager   = "service manager"   // init, or whoever starts services in its place
	Job       = "job"               // the process group that the shell made for its command
)

// What the shell does, as a Process's note.
const (
	Waits  = "waits"  // its command has not ended
	Prompt = "prompt" // it has
)

// What a descriptor may lead to, apart from a file by its own name.
const (
	Terminal  = "terminal"
	Null      = "/dev/null"
	Held      = "caller's file" // one that the caller had left open
	Directory = "its directory" // the daemon's own, or a file in it
	TmpDir    = "TMPDIR"        // what holds it
)

// A Scene is what was seen of one run.
type Scene struct {
	Command   []string        // as one types it; a long one is broken
	Terminal  string          // what kind of terminal it was started on: "pts"
	Processes []Process       // a parent stands before its children
	Dirs      map[string]*Dir // what is in the directories that descriptors lead to
	Cards     []Card          // what else there is
	Then      *Then           // what was done next, or nil
	// Brief leaves out each descriptor that is the same in both scenes. Without it only
	// an inherited one is left out.
	Brief bool
}

// A Process is one process of a Scene.
type Process struct {
	Role     string
	Parent   string // the role of its parent; "" if that is not in the Scene
	Ended    bool
	Note     string // what it is doing, in a word
	Session  string // the role of the process that leads its session; "" if that is not in the Scene
	Group    string // likewise its process group, or Job
	Terminal bool   // the terminal is its controlling terminal

	Cwd, Umask  string   // "" if not looked at
	Facts       []string // what else was seen, a few words each
	Descriptors []Descriptor
}

// A Descriptor is an open file descriptor.
type Descriptor struct {
	// Number is "" for one that the process opened itself: its number has no meaning.
	Number string
	Target string
}

// inherited says whether it is one that the process got from its caller, and not
// one of the three that every process has.
func (d Descriptor) inherited() bool {
	return !slices.Contains([]string{"", "0", "1", "2"}, d.Number)
}

// A Dir is a directory.
type Dir struct {
	Mode  string
	Files []File
}

// A File is one file in a directory.
type File struct {
	Name string
	Note string // what there is to say about it, in a word or two
}

// A Then is what was done when all else had been looked at, and what came of it.
type Then struct {
	Did   string
	Cards []Card
}

// A Card is one thing, with what is known of it.
type Card struct {
	Kind  Kind
	Title string
	Lines []string
	Files []File // what is in it
	// Leads is set if a line leads from this card to the next: the process has that
	// file open, or the terminal is that process's controlling terminal.
	Leads bool
}

// A Kind says what a Card stands for.
type Kind string

const (
	Alive  Kind = "process"
	Ended  Kind = "ended" // a process that has ended, or nothing
	Thing  Kind = "thing" // a file or what is like one
	Screen Kind = "screen"
)

func (t *Then) card(title string) *Card {
	if t == nil {
		return nil
	}
	return cardOf(t.Cards, title)
}

func cardOf(list []Card, title string) *Card {
	for i := range list {
		if list[i].Title == title {
			return &list[i]
		}
	}
	return nil
}

func (s *Scene) process(role string) *Process {
	if s == nil {
		return nil
	}
	for i := range s.Processes {
		if s.Processes[i].Role == role {
			return &s.Processes[i]
		}
	}
	return nil
}

// without returns s without the small facts that other shows as well.
func (s Scene) without(other Scene) Scene {
	s.Processes = slices.Clone(s.Processes)
	for i := range s.Processes {
		p := &s.Processes[i]
		same := other.process(p.Role)
		if same == nil {
			continue
		}
		for _, fact := range [][2]*string{{&p.Note, &same.Note}, {&p.Cwd, &same.Cwd}, {&p.Umask, &same.Umask}} {
			if *fact[0] == *fact[1] {
				*fact[0] = ""
			}
		}
		p.Facts = slices.DeleteFunc(slices.Clone(p.Facts), func(f string) bool { return slices.Contains(same.Facts, f) })
		p.Descriptors = slices.DeleteFunc(slices.Clone(p.Descriptors), func(d Descriptor) bool {
			return slices.Contains(same.Descriptors, d) &&
				(d.inherited() || s.Brief && reflect.DeepEqual(s.Dirs[d.Target], other.Dirs[d.Target]))
		})
	}
	s.Cards = slices.DeleteFunc(slices.Clone(s.Cards), func(c Card) bool {
		same := cardOf(other.Cards, c.Title)
		return same != nil && reflect.DeepEqual(c, *same)
	})
	return s
}

// words tells what a picture of the Scene shows, for those who cannot see it.
func (s Scene) words() string {
	var b strings.Builder
	say := func(format string, args ...any) {
		if b.Len() > 0 {
			b.WriteString(" ")
		}
		fmt.Fprintf(&b, format+".", args...)
	}
	for _, p := range s.Processes {
		if p.Session == "" {
			continue
		}
		switch {
		case p.Ended:
			say("The %s, a child of %s, has ended", p.Role, article(p.Parent))
			for _, f := range p.Facts {
				say("It %s", f)
			}
			continue
		case p.Role == Shell && p.Terminal:
			say("The %s leads the session of the terminal (%s)", p.Role, s.Terminal)
		}
		switch p.Note {
		case Waits:
			say("The %s waits for its command", p.Role)
		case Prompt:
			say("The %s has its prompt back", p.Role)
		}
		if p.Role == Shell {
			continue
		}
		if p.Parent != "" {
			say("The parent of the %s is %s", p.Role, article(p.Parent))
		}
		terminal := "with no controlling terminal"
		if p.Terminal {
			terminal = "with its controlling terminal"
		}
		group := "a process group of its own"
		if p.Group != p.Role {
			group = "the process group of the " + p.Group
		}
		if p.Session == p.Role {
			say("It leads a session of its own, %s, and is in %s", terminal, group)
		} else {
			say("It is in the session of the %s, %s, and in %s", p.Session, terminal, group)
		}
		for _, f := range p.Facts {
			say("It %s", f)
		}
		for _, b := range bundles(p.Descriptors) {
			what := "A descriptor that it opened leads"
			if len(b.numbers) == 1 && b.numbers[0] != "" {
				what = "Descriptor " + b.numbers[0] + " leads"
			} else if len(b.numbers) > 1 {
				what = "Descriptors " + strings.Join(b.numbers, ", ") + " lead"
			}
			say("%s to %s", what, article(b.target))
		}
		if p.Cwd != "" {
			say("Its working directory is %s", article(p.Cwd))
		}
		if p.Umask != "" {
			say("Its umask is %s", p.Umask)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Dirs)) {
		if s.leadsTo(name) {
			d := s.Dirs[name]
			say("%s has mode %s and holds %s", capital(article(name)), d.Mode, list(d.Files))
		}
	}
	cards := func(all []Card) {
		for _, c := range all {
			text := capital(c.Title)
			for i, l := range c.Lines {
				text += [...]string{": ", ", "}[min(i, 1)] + l
			}
			if len(c.Files) > 0 {
				text += "; in it " + list(c.Files)
			}
			say("%s", text)
		}
	}
	cards(s.Cards)
	if s.Then != nil {
		say("Then: %s", s.Then.Did)
		cards(s.Then.Cards)
	}
	return b.String()
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// list tells what is in a directory.
func list(files []File) string {
	if len(files) == 0 {
		return "nothing"
	}
	var names []string
	for _, f := range files {
		name := f.Name
		if f.Note != "" {
			name += " (" + f.Note + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// article puts "the" before a role or a thing that needs it.
func article(s string) string {
	if s == Subreaper {
		return "init or a subreaper"
	}
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "its ") || s == TmpDir {
		return s
	}
	return "the " + s
}

// A bundle is some descriptors that lead to the same thing.
type bundle struct {
	numbers []string
	target  string
}

// bundles puts neighbours that lead to the same thing together. What a process
// opened itself in one place is one descriptor here: neither number has a meaning.
func bundles(list []Descriptor) (all []bundle) {
	for _, d := range list {
		last := len(all) - 1
		switch {
		case last < 0 || all[last].target != d.Target || (d.Number == "") != (all[last].numbers[0] == ""):
			all = append(all, bundle{[]string{d.Number}, d.Target})
		case d.Number != "":
			all[last].numbers = append(all[last].numbers, d.Number)
		}
	}
	return all
}
