package initramfs

// Internals that have tests of their own.
var (
	Resolve         = resolve
	FindProgram     = findProgram
	DecodeEFIString = decodeEFIString
	ProbeKind       = func(dev interface {
		ReadAt([]byte, int64) (int, error)
		WriteAt([]byte, int64) (int, error)
		Size() int64
		Sync() error
	}) (kind string, size int64, clean bool, err error) {
		f, err := probe(dev)
		return f.kind, f.size, f.clean, err
	}
)
