package build

import (
	"fmt"
	"io"
	"math"
)

// A cpioFile is a directory, a character device or, by default, a regular
// file. Owner is root and times are 0, so the same content is the same bytes.
type cpioFile struct {
	mode         uint32 // permission bits
	dir, char    bool
	major, minor uint32
	data         []byte
}

// A cpioWriter writes the newc format as the kernel's init/initramfs.c reads
// it: each header and each content padded to 4 bytes.
type cpioWriter struct {
	w   io.Writer
	ino uint32
	off int64
}

func newCpioWriter(w io.Writer) *cpioWriter { return &cpioWriter{w: w} }

const (
	modeDir  = 0o040000
	modeChar = 0o020000
	modeReg  = 0o100000
)

func (c *cpioWriter) add(name string, f cpioFile) error {
	if int64(len(f.data)) > math.MaxUint32 {
		return fmt.Errorf("%d bytes do not fit into a cpio entry", len(f.data))
	}
	mode, links := f.mode|modeReg, 1
	switch {
	case f.dir:
		mode, links = 0o755|modeDir, 2
	case f.char:
		mode = f.mode | modeChar
	}
	c.ino++
	return c.record(name, [13]uint32{c.ino, mode, 0, 0, uint32(links), 0, uint32(len(f.data)), 0, 0, f.major, f.minor}, f.data)
}

func (c *cpioWriter) close() error {
	if err := c.record("TRAILER!!!", [13]uint32{4: 1}, nil); err != nil {
		return err
	}
	// The kernel skips zeros between archives; a multiple of 512 is what
	// cpio(1) writes.
	return c.write(make([]byte, -c.off&511))
}

// record writes one entry; field 11 of h, the length of the name, is set here.
func (c *cpioWriter) record(name string, h [13]uint32, data []byte) error {
	h[11] = uint32(len(name) + 1)
	head := []byte("070701")
	for _, v := range h {
		head = fmt.Appendf(head, "%08X", v)
	}
	head = append(append(head, name...), 0)
	if err := c.write(pad4(head)); err != nil {
		return err
	}
	if err := c.write(data); err != nil {
		return err
	}
	return c.write(make([]byte, -c.off&3))
}

func (c *cpioWriter) write(p []byte) error {
	n, err := c.w.Write(p)
	c.off += int64(n)
	return err
}

func pad4(b []byte) []byte {
	return append(b, make([]byte, -len(b)&3)...)
}
