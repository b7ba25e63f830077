//go:build !race

package oci_test

const raceDetector = false
