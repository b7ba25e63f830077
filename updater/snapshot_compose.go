package updater

// discard is a squashfs.Sink for an image of which only the hash tree is
// wanted.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteFirst([]byte) error     { return nil }
