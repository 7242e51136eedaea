//go:build linux

package daemonsteps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// documents returns the paths of all documents that readers follow.
func documents(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("docs/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	return append(paths, "README.md", "testdata/README.md")
}

// A doc is a document taken apart.
type doc struct {
	path     string
	text     string
	prose    []line // all but blocks, headings and comments
	headings []line
	blocks   []block
}

type line struct {
	number int
	text   string
}

// A block stands between two lines of three backquotes.
type block struct {
	line int
	kind string // the first word behind the backquotes
	why  string // the words behind that
	text string
}

func readDoc(t *testing.T, path string) doc {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseDoc(path, string(text))
}

func parseDoc(path, text string) doc {
	d := doc{path: path, text: text}
	var open *block
	n := 0
	for raw := range strings.Lines(text) {
		n++
		l := strings.TrimSuffix(raw, "\n")
		fence := strings.HasPrefix(strings.TrimSpace(l), "```")
		switch {
		case open != nil && fence:
			d.blocks = append(d.blocks, *open)
			open = nil
		case open != nil:
			open.text += raw
		case fence:
			kind, why, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(l), "```"), " ")
			open = &block{line: n, kind: kind, why: why}
		case strings.HasPrefix(l, "#"):
			d.headings = append(d.headings, line{n, strings.TrimSpace(strings.TrimLeft(l, "#"))})
		case strings.HasPrefix(l, "<!--"):
		default:
			d.prose = append(d.prose, line{n, l})
		}
	}
	return d
}
