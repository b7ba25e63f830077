//go:build race

package squashfs_test

// raceDetector makes everything ten times slower.
const raceDetector = true
