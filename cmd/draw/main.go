//go:build linux

// Command draw draws the pictures of the lessons from real runs of the steps.
//
//	go run ./cmd/draw [-o DIR]
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

	"daemonsteps/internal/lab"
	"daemonsteps/internal/picture"
)

func main() {
	lab.Main()
	out := flag.String("o", "docs", "the directory to write to")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "draw: unexpected argument %q (draw -h explains)\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := draw(*out); err != nil {
		fmt.Fprintln(os.Stderr, "draw:", err)
		os.Exit(1)
	}
}

// draw writes all pictures to the directory out. Each is drawn before the first
// is written.
func draw(out string) (err error) {
	bin, err := os.MkdirTemp("", "daemonsteps-draw-")
	if err != nil {
		return fmt.Errorf("make a directory for the steps: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	if text, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "./steps/...").CombinedOutput(); err != nil {
		return fmt.Errorf("build the steps: %w\n%s", err, text)
	}
	pictures := map[string][]byte{}
	for _, lesson := range picture.Lessons() {
		svg, err := lesson.Picture(func(step string) string { return filepath.Join(bin, step) })
		if err != nil {
			return err
		}
		pictures[lesson.Name] = svg
	}
	board, err := os.ReadFile(filepath.Join("testdata", "scoreboard.txt"))
	if err != nil {
		return fmt.Errorf("read the scoreboard: %w", err)
	}
	if pictures["ladder"], err = picture.Ladder(string(board)); err != nil {
		return err
	}
	for name, svg := range pictures {
		if err := os.WriteFile(filepath.Join(out, name+".svg"), svg, 0o666); err != nil {
			return fmt.Errorf("write a picture: %w", err)
		}
	}
	return nil
}
