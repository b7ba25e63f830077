package initramfs

import (
	"fmt"
	"io"
	"io/fs"
)

// A newc writes a cpio archive as the kernel unpacks it
// (Documentation/driver-api/early-userspace/buffer-format.rst). u-root's cpio,
// which makes the initramfs, would link regexp into PID 1.
type newc struct {
	w   io.Writer
	ino uint32
	n   int64 // bytes written
}

// File types of mode_t.
const (
	typeDir  = 0o040000
	typeChar = 0o020000
	typeFile = 0o100000
	typeLink = 0o120000
)

func (c *newc) dir(name string, perm fs.FileMode) error {
	return c.entry(name, typeDir|uint32(perm.Perm()), nil, 0, 0)
}

func (c *newc) file(name string, perm fs.FileMode, data []byte) error {
	return c.entry(name, typeFile|uint32(perm.Perm()), data, 0, 0)
}

func (c *newc) symlink(name, target string) error {
	return c.entry(name, typeLink|0o777, []byte(target), 0, 0)
}

func (c *newc) char(name string, perm fs.FileMode, major, minor uint32) error {
	return c.entry(name, typeChar|uint32(perm.Perm()), nil, major, minor)
}

// close writes the end of the archive.
func (c *newc) close() error { return c.entry("TRAILER!!!", 0, nil, 0, 0) }

func (c *newc) entry(name string, mode uint32, data []byte, major, minor uint32) error {
	if int64(len(data)) > 1<<32-1 {
		return fmt.Errorf("%s has %d bytes, more than a cpio archive takes", name, len(data))
	}
	c.ino++
	links := 1
	if mode&^0o7777 == typeDir {
		links = 2
	}
	head := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.ino, mode, 0, 0, links, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	for _, part := range [][]byte{[]byte(head), data} {
		if err := c.padded(part); err != nil {
			return err
		}
	}
	return nil
}

// padded writes b and fills up to a multiple of four bytes.
func (c *newc) padded(b []byte) error {
	n, err := c.w.Write(b)
	c.n += int64(n)
	if err != nil {
		return err
	}
	n, err = c.w.Write(make([]byte, -c.n&3))
	c.n += int64(n)
	return err
}
