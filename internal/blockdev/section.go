package blockdev

import "io"

// A Section is a range of a Device, itself a Device. A partition is one.
type Section struct {
	dev       Device
	off, size int64
}

// NewSection returns [off, off+size) of dev.
func NewSection(dev Device, off, size int64) (*Section, error) {
	if err := CheckBounds(off, size, dev.Size()); err != nil {
		return nil, err
	}
	return &Section{dev, off, size}, nil
}

// Off is the section's first byte on the device below.
func (s *Section) Off() int64 { return s.off }

// Size implements Device.
func (s *Section) Size() int64 { return s.size }

// Sync implements Device; it syncs the whole device below.
func (s *Section) Sync() error { return s.dev.Sync() }

// ReadAt implements io.ReaderAt; it ends with io.EOF at the section's end.
func (s *Section) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, CheckBounds(off, int64(len(p)), s.size)
	}
	if off >= s.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > s.size-off
	if short {
		p = p[:s.size-off]
	}
	n, err := s.dev.ReadAt(p, s.off+off)
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// WriteAt implements io.WriterAt; a write past the end writes nothing.
func (s *Section) WriteAt(p []byte, off int64) (int, error) {
	if err := CheckBounds(off, int64(len(p)), s.size); err != nil {
		return 0, err
	}
	return s.dev.WriteAt(p, s.off+off)
}

// Invalidate implements Invalidator.
func (s *Section) Invalidate(off, n int64) error {
	if err := CheckBounds(off, n, s.size); err != nil {
		return err
	}
	return Invalidate(s.dev, s.off+off, n)
}

// StartSync implements Starter.
func (s *Section) StartSync(off, n int64) error {
	if err := CheckBounds(off, n, s.size); err != nil {
		return err
	}
	return StartSync(s.dev, s.off+off, n)
}

// Zero implements Zeroer.
func (s *Section) Zero(off, n int64) error {
	if err := CheckBounds(off, n, s.size); err != nil {
		return err
	}
	return Zero(s.dev, s.off+off, n)
}
