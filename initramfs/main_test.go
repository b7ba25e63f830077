package initramfs_test

import (
	"os"
	"testing"
)

// TestMain puts the machines' files into memory where there is a place for
// that: the sequence syncs what it writes, which a disk makes slow.
func TestMain(m *testing.M) {
	const shm = "/dev/shm"
	if dir, err := os.MkdirTemp(shm, "abupdate-"); err == nil && os.Remove(dir) == nil {
		os.Setenv("TMPDIR", shm)
	}
	os.Exit(m.Run())
}
