//go:build linux

package daemonsteps

import (
	"os"
	"path/filepath"
	"testing"

	"daemonsteps/internal/picture"
)

// TestPictures draws the picture of each lesson anew, from a run of its two steps,
// and compares it with the one in docs.
func TestPictures(t *testing.T) {
	for _, step := range steps() {
		program(step) // Builds it, so that no two lessons do.
	}
	for _, lesson := range picture.Lessons() {
		t.Run(lesson.Name, func(t *testing.T) {
			t.Parallel()
			svg, err := lesson.Picture(program)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("docs", lesson.Name+".svg"), string(svg))
		})
	}
	t.Run("ladder", func(t *testing.T) {
		t.Parallel()
		board, err := os.ReadFile(filepath.Join("testdata", "scoreboard.txt"))
		if err != nil {
			t.Fatal(err)
		}
		svg, err := picture.Ladder(string(board))
		if err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("docs", "ladder.svg"), string(svg))
	})
}
