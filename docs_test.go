//go:build linux

package daemonsteps

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"daemonsteps/internal/checks"
)

// TestREADME holds that the README shows the scoreboard as it is, names every step,
// and that its links lead somewhere.
func TestREADME(t *testing.T) {
	t.Parallel()
	board, err := os.ReadFile("testdata/scoreboard.txt")
	if err != nil {
		t.Fatal(err)
	}
	text := between(t, "README.md", "scoreboard", "```text because TestREADME compares it\n"+string(board)+"```\n")
	for _, step := range steps() {
		if !strings.Contains(text, "| ["+step+"](steps/"+step+") |") {
			t.Errorf("README.md does not list %s", step)
		}
	}
}

// between compares what stands in a file between <!-- name --> and <!-- end -->, or
// writes it there with -update, and returns the whole file.
func between(t *testing.T, path, name, want string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), "<!-- "+name+" -->\n")
	is, after, ok2 := strings.Cut(rest, "<!-- end -->")
	if !ok1 || !ok2 {
		t.Fatalf("%s has no <!-- %s --> with an <!-- end -->", path, name)
	}
	if is == want {
		return string(text)
	}
	if !*update {
		t.Errorf("%s: between <!-- %s --> and <!-- end --> stands\n%s\nand it should be\n%s", path, name, is, want)
		return string(text)
	}
	whole := before + "<!-- " + name + " -->\n" + want + "<!-- end -->" + after
	if err := os.WriteFile(path, []byte(whole), 0o666); err != nil {
		t.Fatal(err)
	}
	return whole
}

// TestJSONIsDocumented holds that docs/isdaemon.md names every key that isdaemon
// -json prints, and no other, and that a report reads back as it was.
func TestJSONIsDocumented(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("isdaemon", "-only", "umask", "-json", program("05-signals"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var r checks.Report
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		t.Fatal(err)
	}
	again, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if string(again)+"\n" != string(out) {
		t.Errorf("the report is\n%s\nand reads back as\n%s", out, again)
	}

	var printed map[string]any
	if err := json.Unmarshal(out, &printed); err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	collectKeys(printed, keys)
	doc, err := os.ReadFile("docs/isdaemon.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "## The JSON object")
	documented := map[string]bool{}
	for line := range strings.Lines(section) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(line, -1) {
			documented[m[1]] = true
		}
	}
	for key := range keys {
		if !documented[key] {
			t.Errorf("docs/isdaemon.md does not name %q", key)
		}
	}
	// Words in backquotes that are values, or a key that is printed of a signalfd alone.
	values := []string{"signals", "pass", "fail", "skip", "file", "dir", "char", "block", "pipe", "socket", "anon", "symlink", "r", "w", "rw", "path"}
	for key := range documented {
		if !keys[key] && !slices.Contains(values, key) {
			t.Errorf("docs/isdaemon.md names %q, which is not printed", key)
		}
	}
}

func collectKeys(v any, keys map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			keys[key] = true
			collectKeys(value, keys)
		}
	case []any:
		for _, value := range v {
			collectKeys(value, keys)
		}
	}
}
