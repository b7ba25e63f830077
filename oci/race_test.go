//go:build race

package oci_test

// The race detector makes everything some ten times slower.
const raceDetector = true
