//go:build linux

package daemonsteps

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// The checks of this file take a document apart and return what is wrong with it, so
// that TestDocumentChecksBite can give them documents that have drifted.

func complain(t *testing.T, wrong []string) {
	t.Helper()
	for _, w := range wrong {
		t.Error(w)
	}
}

// TestLessons holds what the lessons promise.
func TestLessons(t *testing.T) {
	t.Parallel()
	terms := words(t)
	for i, step := range steps() {
		t.Run(step, func(t *testing.T) {
			path := filepath.Join("docs", step+".md")
			if *update && i > 0 {
				between(t, path, "diff", "```diff\n"+stepDiff(t, i)+"```\n")
			}
			d := readDoc(t, path)
			complain(t, checkShape(d, step))
			complain(t, checkGo(d, stepSources(t, i)))
			complain(t, checkDiff(d, stepDiff(t, i)))
			complain(t, checkWords(d, terms))
		})
	}
}

// TestDocuments holds what all documents promise.
func TestDocuments(t *testing.T) {
	t.Parallel()
	named := map[string][]string{}
	for _, path := range documents(t) {
		d := readDoc(t, path)
		complain(t, checkBlocks(d))
		complain(t, checkLinks(d))
		for _, m := range scenarioLink.FindAllStringSubmatch(d.text, -1) {
			if !slices.Contains(named[m[1]], path) {
				named[m[1]] = append(named[m[1]], path)
			}
		}
	}
	scenarios, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	booted, err := filepath.Glob("testdata/*/boot/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	scenarios = append(scenarios, booted...)
	for _, s := range scenarios {
		name := strings.TrimSuffix(strings.TrimPrefix(s, "testdata/"), ".txtar")
		if len(named[name]) != 1 {
			t.Errorf("scenario %s is named by %q, and one document should name it", name, named[name])
		}
	}
}

// headings are the parts of a lesson, in order.
var headings = []string{"What you will have", "Predict", "See it go wrong", "The change", "See it work", "Why",
	"What bites people", "Try it yourself"}

const (
	fewestWords = 900
	mostWords   = 1600
	firstCode   = 120 // words before the first block
)

// checkShape checks the rhythm of a lesson.
func checkShape(d doc, step string) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, d.path+": "+fmt.Sprintf(format, args...)) }
	var have []string
	for _, h := range d.headings[min(1, len(d.headings)):] {
		have = append(have, h.text)
	}
	if !slices.Equal(have, headings) {
		say("the headings are %q, and not %q", have, headings)
	}
	words, before := 0, 0
	first := 0
	if len(d.blocks) > 0 {
		first = d.blocks[0].line
	}
	for _, l := range d.prose {
		n := len(strings.Fields(l.text))
		words += n
		if l.number < first {
			before += n
		}
	}
	if words < fewestWords || words > mostWords {
		say("%d words, and a lesson has %d to %d", words, fewestWords, mostWords)
	}
	if first == 0 || before > firstCode {
		say("%d words before the first block, and at most %d are wanted", before, firstCode)
	}
	if n := strings.Count(d.text, "<details>"); n != 2 || strings.Count(d.text, "</details>") != 2 {
		say("%d folded parts, and there should be a hint and an answer", n)
	}
	if !strings.Contains(d.text, "]("+step+".svg)") {
		say("it does not show its picture, %s.svg", step)
	}
	return wrong
}

// stepSources returns the files of a step and of the one before it.
func stepSources(t *testing.T, i int) []string {
	t.Helper()
	var texts []string
	for _, step := range steps()[max(0, i-1) : i+1] {
		texts = append(texts, sources(t, step)...)
	}
	return texts
}

// sources returns the texts of a step's Go files.
func sources(t *testing.T, step string) (texts []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("steps", step, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	return texts
}

// checkGo checks that each block of Go is whole lines of a file, one behind another.
func checkGo(d doc, sources []string) (wrong []string) {
	for _, b := range d.blocks {
		if b.kind != "go" {
			continue
		}
		if !slices.ContainsFunc(sources, func(s string) bool { return strings.Contains("\n"+s, "\n"+b.text) }) {
			wrong = append(wrong, fmt.Sprintf("%s:%d: the Go block is not in the step's files", d.path, b.line))
		}
	}
	return wrong
}

// stepDiff returns what a step changes in the files that stand, as git shows it, and
// which files are new. Step 1 changes nothing: it is shown as a launcher's file.
func stepDiff(t *testing.T, i int) string {
	t.Helper()
	if i == 0 {
		return ""
	}
	var b strings.Builder
	skip := false
	step := steps()[i]
	for _, l := range diff(t, "--unified=1", filepath.Join("steps", steps()[i-1]), filepath.Join("steps", step)) {
		switch {
		case strings.HasPrefix(l, "diff --git"):
			skip = false
			fields := strings.Fields(l)
			// A step that takes away much is shown by its daemon. Of what else stands, the
			// reader is told that it has changed, and of what is gone that it is.
			if old := strings.TrimPrefix(fields[2], "a/"); step == supervised && !strings.HasSuffix(old, "/daemon.go") {
				now := filepath.Join("steps", step, filepath.Base(old))
				was := filepath.Join("steps", steps()[i-1], filepath.Base(old))
				switch {
				case !exists(now):
					fmt.Fprintf(&b, "deleted file %s\n", was)
				case !exists(was):
					fmt.Fprintf(&b, "new file %s\n", now)
				default:
					fmt.Fprintf(&b, "changed file %s\n", now)
				}
				skip = true
				continue
			}
			if _, err := os.Stat(strings.TrimPrefix(fields[2], "a/")); err != nil || strings.TrimPrefix(fields[2], "a/") == strings.TrimPrefix(fields[3], "b/") {
				// A new file is read as a file, not as a diff.
				fmt.Fprintf(&b, "new file %s\n", strings.TrimPrefix(fields[3], "b/"))
				skip = true
			}
		case skip, strings.HasPrefix(l, "index "), strings.HasPrefix(l, "new file mode"):
		default:
			fmt.Fprintln(&b, l)
		}
	}
	return b.String()
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// checkDiff checks that the diff block is the real one.
func checkDiff(d doc, want string) (wrong []string) {
	found := false
	for _, b := range d.blocks {
		if b.kind == "diff" {
			found = true
			if b.text != want {
				wrong = append(wrong, fmt.Sprintf("%s:%d: the diff is not the real one; make docs writes it", d.path, b.line))
			}
		}
	}
	if !found && want != "" {
		wrong = append(wrong, d.path+": no diff block")
	}
	return wrong
}

// words returns the words that docs/words.md explains.
func words(t *testing.T) []string {
	t.Helper()
	var terms []string
	for _, h := range readDoc(t, "docs/words.md").headings[1:] {
		terms = append(terms, h.text)
	}
	return terms
}

var inlineCode = regexp.MustCompile("`[^`]*`")

// checkWords checks that the first use of each word in a lesson is a link to where it
// is explained.
func checkWords(d doc, terms []string) (wrong []string) {
	longest := slices.Clone(terms)
	slices.SortFunc(longest, func(a, b string) int { return len(b) - len(a) })
	for i, term := range longest {
		longest[i] = regexp.QuoteMeta(term) + `(?:e?s)?`
	}
	either := regexp.MustCompile(`\[[^\]]*\]\(words\.md#([a-z-]+)\)|(?i:\b(` + strings.Join(longest, "|") + `)\b)`)
	explained := map[string]bool{}
	for _, l := range d.prose {
		text := inlineCode.ReplaceAllString(l.text, "`")
		for _, m := range either.FindAllStringSubmatch(text, -1) {
			if m[1] != "" {
				explained[m[1]] = true
				continue
			}
			for _, term := range terms {
				used := strings.ToLower(m[2])
				if (used == term || used == term+"s" || used == term+"es") && !explained[slug(term)] {
					wrong = append(wrong, fmt.Sprintf("%s:%d: %q is used before it is explained: link words.md#%s", d.path, l.number, m[2], slug(term)))
					explained[slug(term)] = true
				}
			}
		}
	}
	return wrong
}

// checkBlocks checks that no block escapes: each is of a kind that is compared with
// something, or says why not.
func checkBlocks(d doc) (wrong []string) {
	for _, b := range d.blocks {
		switch {
		case b.kind == "go", b.kind == "diff", b.kind == "console" && b.why == "":
		case b.kind == "text" && strings.HasPrefix(b.why, "because "):
		default:
			wrong = append(wrong, fmt.Sprintf("%s:%d: a block of kind %q is compared with nothing: "+
				"it is go, diff or console, or text with a because", d.path, b.line, b.kind+" "+b.why))
		}
	}
	return wrong
}

var (
	link         = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	manLink      = regexp.MustCompile(`\[([A-Za-z0-9_.]+)\((\d)([a-z]*)\)[^\]]*\]\(([^)\s]+)\)`)
	manPage      = regexp.MustCompile(`^https://man7\.org/linux/man-pages/man(\d)/([A-Za-z0-9_.]+)\.(\d[a-z]*)\.html(#[A-Za-z_0-9-]+)?$`)
	thread       = regexp.MustCompile(`^https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+$`)
	scenarioLink = regexp.MustCompile(`\]\((?:\.\./)?(?:testdata/)?([\w-]+/(?:boot/)?[\w-]+)\.txtar\)`)
)

// sites are pages that a document may lead to besides man pages and GitHub threads.
var sites = []string{
	"https://pkg.go.dev/",
	"https://peps.python.org/pep-3143/",
	"https://pubs.opengroup.org/onlinepubs/",
	"https://www.cve.org/CVERecord?id=CVE-",
	"https://refspecs.linuxfoundation.org/",
	"https://skarnet.org/software/s6/",
	"https://systemd.io/",
}

// checkLinks checks that every link leads somewhere. What is outside cannot be
// visited here: its address has to be of a known form, and a man page's has to be
// that of the page that is named.
func checkLinks(d doc) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, d.path+": "+fmt.Sprintf(format, args...)) }
	text := d.text
	for _, b := range d.blocks {
		text = strings.Replace(text, b.text, "", 1)
	}
	for _, m := range manLink.FindAllStringSubmatch(text, -1) {
		page := manPage.FindStringSubmatch(m[4])
		if page == nil || page[1] != m[2] || page[2] != m[1] || page[3] != m[2]+m[3] {
			say("%s(%s%s) leads to %s", m[1], m[2], m[3], m[4])
		} else if err := manExists(m[1], m[2]+m[3]); err != nil {
			say("%v", err)
		}
	}
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		to := m[1]
		if u, err := url.Parse(to); err == nil && u.Scheme != "" {
			known := manPage.MatchString(to) || thread.MatchString(to)
			for _, site := range sites {
				known = known || strings.HasPrefix(to, site)
			}
			if !known {
				say("link to %s: no known kind of page", to)
			}
			continue
		}
		file, anchor, _ := strings.Cut(to, "#")
		path := d.path
		if file != "" {
			path = filepath.Join(filepath.Dir(d.path), file)
		}
		target, err := os.Stat(path)
		if err != nil {
			say("link to %s: %v", to, err)
			continue
		}
		if anchor == "" || target.IsDir() {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			say("link to %s: %v", to, err)
			continue
		}
		if !slices.ContainsFunc(parseDoc(path, string(text)).headings, func(h line) bool { return slug(h.text) == anchor }) {
			say("link to %s: no such heading", to)
		}
	}
	return wrong
}

// haveMan says whether man(1) and its pages are installed.
var haveMan = sync.OnceValue(func() bool { return exec.Command("man", "-w", "2", "setsid").Run() == nil })

// manAnswers are the answers of man(1) so far. It is slow, and the pages are few.
var manAnswers sync.Map

// manOwner are the pages that the Linux man-pages project does not have itself, with a
// program that comes in the same package. Without it the page need not be there.
var manOwner = map[string]string{
	"8 logrotate": "logrotate", "1 strace": "strace", "5 subuid": "useradd",
	"7 daemon": "systemctl", "1 init": "systemctl", "5 systemd.exec": "systemctl", "5 systemd.service": "systemctl",
}

// manExists asks man(1) for a page, where it can be asked.
func manExists(page, section string) error {
	// The Linux man-pages project has split these off later than many systems have it.
	if strings.HasPrefix(page, "proc_") || strings.HasSuffix(section, "const") || !haveMan() {
		return nil // The address has been compared with the name.
	}
	name := section + " " + page
	if owner := manOwner[name]; owner != "" {
		if _, err := exec.LookPath(owner); err != nil {
			return nil
		}
	}
	answer, known := manAnswers.Load(name)
	if !known {
		out, err := exec.Command("man", "-w", section, page).CombinedOutput()
		answer = ""
		if err != nil {
			answer = fmt.Sprintf("man %s: %s", name, strings.TrimSpace(string(out)))
		}
		manAnswers.Store(name, answer)
	}
	if answer != "" {
		return errors.New(answer.(string))
	}
	return nil
}

// slug is the anchor that GitHub makes of a heading.
func slug(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case r == ' ' || r == '-':
			b.WriteByte('-')
		case r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > 127:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// TestDocumentChecksBite holds that a document that has drifted fails.
func TestDocumentChecksBite(t *testing.T) {
	t.Parallel()
	terms := []string{"process", "process group", "session", "mask", "umask"}
	for _, c := range []struct {
		name, text string
		check      func(doc) []string
		want       string // part of what is said, or "" for nothing
	}{
		{"go right", "```go\n\tb()\n\tc()\n```\n", func(d doc) []string { return checkGo(d, []string{"a\n\tb()\n\tc()\n"}) }, ""},
		{"go drifted", "```go\n\tb()\n\tx()\n```\n", func(d doc) []string { return checkGo(d, []string{"a\n\tb()\n\tc()\n"}) }, "doc.md:1: the Go block"},
		{"go not one behind another", "```go\na\n\tc()\n```\n", func(d doc) []string { return checkGo(d, []string{"a\n\tb()\n\tc()\n"}) }, "the Go block"},
		{"go half a line", "```go\nb()\n```\n", func(d doc) []string { return checkGo(d, []string{"a\n\tb()\n"}) }, "the Go block"},
		{"diff right", "```diff\n-a\n+b\n```\n", func(d doc) []string { return checkDiff(d, "-a\n+b\n") }, ""},
		{"diff without deletion", "```diff\n+b\n```\n", func(d doc) []string { return checkDiff(d, "-a\n+b\n") }, "not the real one"},
		{"diff missing", "text\n", func(d doc) []string { return checkDiff(d, "-a\n+b\n") }, "no diff block"},
		{"word linked", "A [process](words.md#process) and processes.\n", func(d doc) []string { return checkWords(d, terms) }, ""},
		{"word not linked", "A process.\n", func(d doc) []string { return checkWords(d, terms) }, `"process" is used before`},
		{"word linked later", "Processes. A [process](words.md#process).\n", func(d doc) []string { return checkWords(d, terms) }, `"Processes" is used before`},
		{"longer word", "A [process group](words.md#process-group) leads.\n", func(d doc) []string { return checkWords(d, terms) }, ""},
		{"longer word is another", "A [process](words.md#process) group, a process group.\n", func(d doc) []string { return checkWords(d, terms) }, `"process group" is used before`},
		{"word in another", "The [umask](words.md#umask), masked.\n", func(d doc) []string { return checkWords(d, terms) }, ""},
		{"word in code", "The `process`.\n", func(d doc) []string { return checkWords(d, terms) }, ""},
		{"block replayed", "```console\n$ true\n```\n", checkBlocks, ""},
		{"block exempt", "```text because it is yours\n$ true\n```\n", checkBlocks, ""},
		{"block escapes", "```\n$ true\n```\n", checkBlocks, "doc.md:1: a block of kind"},
		{"block exempt without reason", "```console not here\n$ true\n```\n", checkBlocks, "a block of kind"},
		{"link right", "[x](README.md#the-ladder)\n", checkLinks, ""},
		{"link to no file", "[x](nosuch.md)\n", checkLinks, "no such file"},
		{"link to no heading", "[x](README.md#nosuch)\n", checkLinks, "no such heading"},
		{"link to no kind of page", "[x](https://example.com/)\n", checkLinks, "no known kind"},
		{"man right", "[setsid(2)](https://man7.org/linux/man-pages/man2/setsid.2.html)\n", checkLinks, ""},
		{"man of another section", "[setsid(1)](https://man7.org/linux/man-pages/man2/setsid.2.html)\n", checkLinks, "setsid(1) leads to"},
		{"man of another page", "[setsid(2)](https://man7.org/linux/man-pages/man2/fork.2.html)\n", checkLinks, "setsid(2) leads to"},
		{"shape", "# x\n\ntext\n", func(d doc) []string { return checkShape(d, "01-x") }, "the headings are"},
		{"few words", "# x\n\ntext\n", func(d doc) []string { return checkShape(d, "01-x")[1:] }, "1 words, and a lesson has"},
		{"no code", "# x\n\ntext\n", func(d doc) []string { return checkShape(d, "01-x")[2:] }, "before the first block"},
		{"no answer", "# x\n\ntext\n", func(d doc) []string { return checkShape(d, "01-x")[3:] }, "0 folded parts"},
		{"no picture", "# x\n\ntext\n", func(d doc) []string { return checkShape(d, "01-x")[4:] }, "01-x.svg"},
	} {
		t.Run(c.name, func(t *testing.T) {
			said := strings.Join(c.check(parseDoc("doc.md", c.text)), "\n")
			if c.want == "" && said != "" || !strings.Contains(said, c.want) {
				t.Errorf("%q: said %q, and not %q", c.text, said, c.want)
			}
		})
	}
}
