//go:build linux

package daemonsteps

import (
	"fmt"
	"path/filepath"
	"sync"
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
