package disk

import (
	"fmt"
	"io"

	"github.com/abupdate/abupdate/partitions"
)

// OpenESP returns one file of the ESP, to be read while nobody writes there.
// The error wraps fs.ErrNotExist when it is not there.
func OpenESP(d *partitions.Disk, name string) (*io.SectionReader, error) {
	sec, err := d.Section(partitions.LabelESP)
	if err != nil {
		return nil, err
	}
	f, err := openFAT(sec)
	if err != nil {
		return nil, fmt.Errorf("reading the ESP: %w", err)
	}
	r, err := f.openFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s from the ESP: %w", name, err)
	}
	return r, nil
}

// ReadESP returns the content of one file of the ESP, as OpenESP does.
func ReadESP(d *partitions.Disk, name string) ([]byte, error) {
	r, err := OpenESP(d, name)
	if err != nil {
		return nil, err
	}
	b := make([]byte, r.Size())
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("reading %s from the ESP: %w", name, err)
	}
	return b, nil
}
