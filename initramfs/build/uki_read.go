package build

import (
	"debug/pe"
	"fmt"
	"io"
)

// Bounds for what is taken into memory of one section.
const (
	maxSection = 1 << 30
	maxText    = 1 << 20
)

// ReadUKI returns the parts of a unified kernel image.
func ReadUKI(r io.ReaderAt) (UKIOptions, error) {
	o, f, err := readText(r)
	if err != nil {
		return o, err
	}
	defer f.Close()
	if o.Initrd, err = section(f, ".initrd", maxSection); err != nil {
		return o, err
	}
	if o.Linux, err = section(f, ".linux", maxSection); err != nil {
		return o, err
	}
	return o, nil
}

// ReadUKIText returns the parts of a unified kernel image without kernel and
// initramfs.
func ReadUKIText(r io.ReaderAt) (UKIOptions, error) {
	o, f, err := readText(r)
	if err != nil {
		return o, err
	}
	return o, f.Close()
}

func readText(r io.ReaderAt) (o UKIOptions, f *pe.File, err error) {
	if f, err = pe.NewFile(r); err != nil {
		return o, nil, fmt.Errorf("reading UKI: %w", err)
	}
	for _, part := range []struct {
		name string
		text *string
	}{{".osrel", &o.OSRelease}, {".cmdline", &o.Cmdline}, {".uname", &o.Uname}} {
		b, err := section(f, part.name, maxText)
		if err != nil {
			f.Close()
			return o, nil, err
		}
		*part.text = string(b)
	}
	if f.Section(".linux") == nil {
		f.Close()
		return o, nil, fmt.Errorf("reading UKI: no .linux section")
	}
	return o, f, nil
}

// section returns nil for one that is not there.
func section(f *pe.File, name string, limit uint32) ([]byte, error) {
	s := f.Section(name)
	if s == nil {
		return nil, nil
	}
	if s.VirtualSize > s.Size || s.Size > limit {
		return nil, fmt.Errorf("reading UKI: section %s has %d bytes in memory and %d in the file", name, s.VirtualSize, s.Size)
	}
	b := make([]byte, s.VirtualSize)
	if n, err := s.ReadAt(b, 0); n != len(b) {
		return nil, fmt.Errorf("reading UKI: section %s: %w", name, err)
	}
	return b, nil
}
