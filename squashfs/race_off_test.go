//go:build !race

package squashfs_test

const raceDetector = false
