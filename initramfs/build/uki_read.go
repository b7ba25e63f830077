package build

import (
	"debug/pe"
	"fmt"
	"io"
)

// maxSection bounds what ReadUKI takes into memory from one section.
const maxSection = 1 << 30

// ReadUKI returns the parts of a unified kernel image.
func ReadUKI(r io.ReaderAt) (UKIOptions, error) {
	f, err := pe.NewFile(r)
	if err != nil {
		return UKIOptions{}, fmt.Errorf("reading UKI: %w", err)
	}
	defer f.Close()
	section := func(name string) ([]byte, error) {
		s := f.Section(name)
		if s == nil {
			return nil, nil
		}
		if s.VirtualSize > s.Size || s.Size > maxSection {
			return nil, fmt.Errorf("reading UKI: section %s has %d bytes in memory and %d in the file", name, s.VirtualSize, s.Size)
		}
		b := make([]byte, s.VirtualSize)
		if n, err := s.ReadAt(b, 0); n != len(b) {
			return nil, fmt.Errorf("reading UKI: section %s: %w", name, err)
		}
		return b, nil
	}
	var got [5][]byte
	for i, name := range []string{".osrel", ".cmdline", ".uname", ".initrd", ".linux"} {
		if got[i], err = section(name); err != nil {
			return UKIOptions{}, err
		}
	}
	if got[4] == nil {
		return UKIOptions{}, fmt.Errorf("reading UKI: no .linux section")
	}
	return UKIOptions{OSRelease: string(got[0]), Cmdline: string(got[1]), Uname: string(got[2]), Initrd: got[3], Linux: got[4]}, nil
}
