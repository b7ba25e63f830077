package disk

import (
	"fmt"

	"github.com/abupdate/abupdate/partitions"
)

// ReadESP returns the content of one file of the ESP. The error wraps
// fs.ErrNotExist when it is not there.
func ReadESP(d *partitions.Disk, name string) ([]byte, error) {
	sec, err := d.Section(partitions.LabelESP)
	if err != nil {
		return nil, err
	}
	f, err := openFAT(sec)
	if err != nil {
		return nil, fmt.Errorf("reading the ESP: %w", err)
	}
	b, err := f.readFile(name)
	if err != nil {
		return nil, fmt.Errorf("reading %s from the ESP: %w", name, err)
	}
	return b, nil
}
