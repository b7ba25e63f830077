package unsquash

import "testing"

// LimitMetadata lowers the limits of metadata for one test.
func LimitMetadata(t *testing.T, n int) {
	was := metadataLimit
	t.Cleanup(func() { metadataLimit = was })
	metadataLimit = n
}
