package build

import "github.com/u-root/u-root/pkg/cpio"

// A cpioFile is a directory, a character device or, by default, a regular
// file. Owner is root and times are 0, so the same content is the same bytes.
type cpioFile struct {
	mode         uint64 // permission bits
	dir, char    bool
	major, minor uint64
	data         []byte
}

// record is the archive's entry. ino must differ from every other entry's.
func (f cpioFile) record(name string, ino uint64) cpio.Record {
	var r cpio.Record
	switch {
	case f.dir:
		r = cpio.Directory(name, 0o755)
		r.NLink = 2
	case f.char:
		r = cpio.CharDev(name, f.mode, f.major, f.minor)
		r.NLink = 1
	default:
		r = cpio.StaticRecord(f.data, cpio.Info{Name: name, Mode: cpio.S_IFREG | f.mode, NLink: 1})
	}
	r.Ino = ino
	return r
}
