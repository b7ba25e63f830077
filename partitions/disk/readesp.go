package disk

import (
	"fmt"
	"io"

	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/abupdate/abupdate/partitions"
)

// ReadESP returns the content of one file of the ESP. The error wraps
// fs.ErrNotExist when it is not there.
func ReadESP(d *partitions.Disk, name string) ([]byte, error) {
	sec, err := d.Section(partitions.LabelESP)
	if err != nil {
		return nil, err
	}
	st := &storage{dev: sec}
	f, err := fat32.Read(st, sec.Size(), 0, d.SectorSize())
	if err != nil {
		return nil, fmt.Errorf("reading the ESP's file system: %w", err)
	}
	file, err := f.OpenFile(name, 0)
	if err != nil {
		return nil, fmt.Errorf("reading %s from the ESP: %w", name, err)
	}
	b, err := io.ReadAll(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s from the ESP: %w", name, err)
	}
	if st.err != nil {
		return nil, fmt.Errorf("reading %s from the ESP: %w", name, st.err)
	}
	return b, nil
}
