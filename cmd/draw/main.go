//go:build linux

// Command draw draws the pictures of the lessons from real runs of the steps.
//
//	go run ./cmd/draw [-o DIR] [LESSON...]
//
// It is run in the root of the repository.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"daemonsteps/internal/lab"
	"daemonsteps/internal/picture"
)

func main() {
	lab.Main()
	out := flag.String("o", "docs", "the directory to write to")
	flag.Parse()
	lessons := picture.Lessons()
	for _, name := range flag.Args() {
		if !slices.ContainsFunc(lessons, func(l picture.Lesson) bool { return l.Name == name }) {
			fmt.Fprintf(os.Stderr, "draw: there is no lesson %q (draw -h explains)\n", name)
			os.Exit(2)
		}
	}
	if flag.NArg() > 0 {
		lessons = slices.DeleteFunc(lessons, func(l picture.Lesson) bool { return !slices.Contains(flag.Args(), l.Name) })
	}
	if err := draw(*out, lessons, flag.NArg() == 0); err != nil {
		fmt.Fprintln(os.Stderr, "draw:", err)
		os.Exit(1)
	}
}

// draw writes the pictures of lessons to the directory out, and that of the ladder if
// asked. Each is drawn before the first is written.
func draw(out string, lessons []picture.Lesson, ladder bool) (err error) {
	bin, err := os.MkdirTemp("", "daemonsteps-draw-")
	if err != nil {
		return fmt.Errorf("make a directory for the steps: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	if text, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "./steps/...").CombinedOutput(); err != nil {
		return fmt.Errorf("build the steps: %w\n%s", err, text)
	}
	pictures := map[string][]byte{}
	for _, lesson := range lessons {
		svg, err := lesson.Picture(func(step string) string { return filepath.Join(bin, step) })
		if err != nil {
			return err
		}
		pictures[lesson.Name] = svg
	}
	if ladder {
		board, err := os.ReadFile(filepath.Join("testdata", "scoreboard.txt"))
		if err != nil {
			return fmt.Errorf("read the scoreboard: %w", err)
		}
		if pictures["ladder"], err = picture.Ladder(string(board)); err != nil {
			return err
		}
	}
	for name, svg := range pictures {
		if err := os.WriteFile(filepath.Join(out, name+".svg"), svg, 0o666); err != nil {
			return fmt.Errorf("write a picture: %w", err)
		}
	}
	return nil
}
