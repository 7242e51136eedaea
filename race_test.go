//go:build race

package daemonsteps

const raceDetector = true
