//go:build linux

package daemonsteps

import (
	"fmt"
	"go/ast"
	gobuild "go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// article returns the path of the article's programs, built: see
// testdata/article/prog.
var article = sync.OnceValue(func() string {
	sources, err := filepath.Glob(filepath.Join(repo(), "testdata", "article", "prog", "*.go"))
	if err != nil || len(sources) == 0 {
		panic(fmt.Sprint("no article: ", err))
	}
	sources = append(sources, filepath.Join(repo(), "go.mod"))
	path, err := kept("article", sources, func(bin, _ string) error {
		return goBuild(repo(), "-o", bin, "./testdata/article/prog")
	})
	if err != nil {
		panic(err)
	}
	return path
})

// TestArticle holds what docs/article.md promises of its claims.
func TestArticle(t *testing.T) {
	t.Parallel()
	d := readDoc(t, "docs/article.md")
	complain(t, checkClaims(d))
	complain(t, checkWords(d, words(t)))
}

var (
	claim    = regexp.MustCompile(`(?m)^### (\d+)\. .*\n`)
	verdict  = regexp.MustCompile(`^\n\*\*(Right|Half|Wrong)\.\*\* `)
	sentence = regexp.MustCompile(`[.!?](\s|$)`)
	summary  = regexp.MustCompile(`Of (\d+) claims (\d+) are right, (\d+) are half\s+right, and (\d+) are wrong\.`)
	testLink = regexp.MustCompile(`\]\(\.\./article_test\.go\)`)
	lesson   = regexp.MustCompile(`\]\(\d\d-[a-z-]+\.md\)`)
)

// checkClaims checks that each claim has a verdict, a reason of at most four sentences,
// a lesson, and a proof; and the count of them.
func checkClaims(d doc) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, d.path+": "+fmt.Sprintf(format, args...)) }
	counts := map[string]int{}
	at := claim.FindAllStringSubmatchIndex(d.text, -1)
	for i, m := range at {
		number := d.text[m[2]:m[3]]
		if number != strconv.Itoa(i+1) {
			say("claim %s is number %d", number, i+1)
		}
		section, _, _ := strings.Cut(d.text[m[1]:], "\n#")
		reason, rest, _ := strings.Cut(section, "\n- Done right: ")
		right, proof, _ := strings.Cut(rest, "\n- Proven:")
		v := verdict.FindStringSubmatch(reason)
		if v == nil {
			say("claim %s has no verdict", number)
			continue
		}
		counts[v[1]]++
		if n := len(sentence.FindAllString(strings.TrimPrefix(reason, v[0]), -1)); n < 1 || n > 4 {
			say("claim %s has %d sentences of reason, and 1 to 4 should do", number, n)
		}
		if !lesson.MatchString(right) {
			say("claim %s has no lesson", number)
		}
		if !scenarioLink.MatchString(proof) && !testLink.MatchString(proof) {
			say("claim %s has no proof", number)
		}
	}
	want := []string{fmt.Sprint(len(at)), fmt.Sprint(counts["Right"]), fmt.Sprint(counts["Half"]), fmt.Sprint(counts["Wrong"])}
	if s := summary.FindStringSubmatch(d.text); s == nil || !slices.Equal(s[1:], want) {
		say("the count of claims says %q, and it is %q", s, want)
	}
	return wrong
}

// TestClaimsBite holds that a document that has drifted fails.
func TestClaimsBite(t *testing.T) {
	t.Parallel()
	right := "Of 1 claims 0 are right, 0 are half right, and 1 are wrong.\n\n### 1. A claim\n\n**Wrong.** One. Two. Three. Four.\n\n" +
		"- Done right: [lesson 1](01-fork.md).\n- Proven:\n  [a/b](../testdata/a/b.txtar)\n"
	for _, c := range []struct{ name, from, to, want string }{
		{"right", "", "", ""},
		{"number", "### 1.", "### 2.", "claim 2 is number 1"},
		{"verdict", "**Wrong.**", "**Bad.**", "has no verdict"},
		{"sentences", "Four.", "Four. Five.", "has 5 sentences"},
		{"lesson", "(01-fork.md)", "(words.md)", "has no lesson"},
		{"proof", "a/b.txtar", "a/b", "has no proof"},
		{"count", "1 are wrong", "2 are wrong", "the count of claims"},
		{"other count", "**Wrong.**", "**Half.**", "the count of claims"},
	} {
		text := right
		if c.from != "" {
			text = strings.Replace(right, c.from, c.to, 1)
		}
		said := strings.Join(checkClaims(parseDoc("doc.md", text)), "\n")
		if c.want == "" && said != "" || !strings.Contains(said, c.want) {
			t.Errorf("%s: said %q, and not %q", c.name, said, c.want)
		}
	}
}

// TestVetIsSilent holds that go vet does not mind the lines that are never reached.
func TestVetIsSilent(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("go", "vet", "./testdata/article/prog").CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("go vet is not silent any more: %v\n%s", err, out)
	}
}

// TestDup2 holds on which systems package syscall has Dup2.
func TestDup2(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "src", "syscall")
	for arch, want := range map[string]bool{"amd64": true, "386": true, "arm64": false, "riscv64": false, "loong64": false} {
		context := gobuild.Default
		context.GOOS, context.GOARCH, context.CgoEnabled = "linux", arch, false
		pkg, err := context.ImportDir(dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		have := slices.ContainsFunc(pkg.GoFiles, func(name string) bool {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(file.Decls, func(d ast.Decl) bool {
				f, ok := d.(*ast.FuncDecl)
				return ok && f.Name.Name == "Dup2"
			})
		})
		if have != want {
			t.Errorf("linux/%s: Dup2 is there: %v, and not %v", arch, have, want)
		}
	}
}

// TestSnippetsAsPrinted holds what becomes of Go when it loses the ends of its lines, or
// its capital letters.
func TestSnippetsAsPrinted(t *testing.T) {
	t.Parallel()
	const program = "package p\n\nimport \"unicode/utf8\"\n\nfunc f() int {\n\tn := utf8.RuneLen('x')\n\treturn n\n}\n"
	for _, c := range []struct{ name, text, want string }{
		{"as it was", program, ""},
		{"on one line", strings.NewReplacer("{\n\t", "{ ", "\n\t", " ", "\n}", " }").Replace(program), "expected ';', found"},
		{"in small letters", strings.ToLower(program), "undefined: utf8.runelen"},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "p.go", c.text, parser.SkipObjectResolution)
		if err == nil {
			config := types.Config{Importer: importer.ForCompiler(fset, "source", nil)}
			_, err = config.Check("p", fset, []*ast.File{file}, nil)
		}
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, and not %q", c.name, err, c.want)
		}
	}
}
