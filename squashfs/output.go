package squashfs

import (
	"bufio"
	"fmt"
)

// alignment is the unit of the page cache, of dm-verity and of the delta index.
const alignment = 4096

var zeros [alignment]byte

// An output counts and buffers what goes to the sink and keeps block 0 back.
type output struct {
	sink   Sink
	buf    *bufio.Writer
	pos    int64
	first  [alignment]byte
	padded int64 // bytes of padding so far
}

func newOutput(sink Sink) *output {
	return &output{sink: sink, buf: bufio.NewWriterSize(sink, 64<<10), pos: superblockSize}
}

func (o *output) Write(p []byte) (int, error) {
	n := 0
	if o.pos < alignment {
		n = copy(o.first[o.pos:], p)
		o.pos += int64(n)
	}
	if n == len(p) {
		return n, nil
	}
	m, err := o.buf.Write(p[n:])
	o.pos += int64(m)
	if err != nil {
		return n + m, fmt.Errorf("writing the image near byte %d: %w", o.pos, err)
	}
	return n + m, nil
}

// pad writes zeros up to the next multiple of the alignment.
func (o *output) pad() error {
	rest := -o.pos & (alignment - 1)
	o.padded += rest
	_, err := o.Write(zeros[:rest])
	return err
}

// finish writes what is buffered, then block 0 with the superblock.
func (o *output) finish(superblock []byte) error {
	if err := o.pad(); err != nil {
		return err
	}
	if err := o.buf.Flush(); err != nil {
		return fmt.Errorf("writing the image near byte %d: %w", o.pos, err)
	}
	copy(o.first[:], superblock)
	if err := o.sink.WriteFirst(o.first[:]); err != nil {
		return fmt.Errorf("writing the image's first block: %w", err)
	}
	return nil
}
