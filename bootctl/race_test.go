//go:build race

package bootctl_test

const raceDetector = true
