package oci

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/klauspost/compress/zstd"
)

// A listDecoder goes through the frames of a layer.
type listDecoder struct {
	yield    func(*listedEntry, error) bool
	attrs    attrTable
	contents *bufio.Reader // nil: nobody asks for paths
	next     uint64        // the least ordinal that may come
	frames   []*zstd.Decoder
}

var errStop = errors.New("stopped") // by who takes the entries

// Bounds for what is held at once: the sets of all entries, and a page, which
// holds one entry at least.
const (
	maxSets = 64 << 20
	maxPage = 64 << 20
)

func (d *listDecoder) decode(l *listedLayer) error {
	var sets, headers *bufio.Reader
	if err := errors.Join(d.open(&sets, l.sets), d.open(&headers, l.headers)); err != nil {
		return err
	}
	err := d.readSets(sets)
	for err == nil {
		err = d.page(headers)
	}
	if err == io.EOF || err == errStop {
		return nil
	}
	return err
}

func (d *listDecoder) open(r **bufio.Reader, frame []byte) error {
	zr, err := zstd.NewReader(bytes.NewReader(frame), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(listWindow))
	if err != nil {
		return fmt.Errorf("%w: %w", errList, err)
	}
	d.frames = append(d.frames, zr)
	*r = bufio.NewReaderSize(zr, 4096)
	return nil
}

func (d *listDecoder) close() {
	for _, zr := range d.frames {
		zr.Close()
	}
}

func (d *listDecoder) readSets(sets *bufio.Reader) error {
	for {
		set, err := readPiece(sets, uint64(max(0, maxSets-d.attrs.bytes)))
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		d.attrs.sets = append(d.attrs.sets, string(set))
		d.attrs.bytes += int64(len(set)) + 1
	}
}

// page reads a page of headers, io.EOF behind the last.
func (d *listDecoder) page(headers *bufio.Reader) error {
	size, err := binary.ReadUvarint(headers)
	if err == io.EOF {
		return err
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errList, err)
	}
	first, err := binary.ReadUvarint(headers)
	if err != nil || size > maxPage || first > math.MaxUint32 {
		return fmt.Errorf("%w: a page of %d bytes at %d", errList, size, first)
	}
	buf, err := readN(headers, size)
	if err != nil {
		return err
	}
	log := logDecoder{logState: logState{ordinal: uint32(first)}, buf: buf, attrs: &d.attrs}
	for len(log.buf) > 0 {
		e := listedEntry{record: log.next()}
		if log.bad || uint64(e.ordinal) < d.next {
			return fmt.Errorf("%w: a header", errList)
		}
		d.next = uint64(e.ordinal) + 1
		if e.droppedSet != 0 {
			e.dropped, e.droppedSet = d.attrs.names(uint64(e.droppedSet-1)), 0
		}
		if err := e.check(); err != nil {
			return fmt.Errorf("%w: %w", errList, err)
		}
		if e.hasContent() && d.contents != nil {
			if e.path, err = d.content(e.Path); err != nil {
				return err
			}
		}
		if !d.yield(&e, nil) {
			return errStop
		}
	}
	return nil
}

// content says where the content of the file called path is.
func (d *listDecoder) content(path string) (string, error) {
	switch kind, err := d.contents.ReadByte(); {
	case err != nil:
		return "", fmt.Errorf("%w: contents: %w", errList, noEOF(err))
	case kind == contentHidden:
		return "", nil
	case kind == contentSame:
		return path, nil
	case kind == contentOther:
		other, err := readPiece(d.contents, maxPath)
		return string(other), noEOF(err)
	}
	return "", fmt.Errorf("%w: contents", errList)
}

// readPiece reads bytes behind their length; io.EOF where nothing is.
func readPiece(r *bufio.Reader, limit uint64) ([]byte, error) {
	size, err := binary.ReadUvarint(r)
	if err == io.EOF {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errList, err)
	}
	if size > limit {
		return nil, fmt.Errorf("%w: %d bytes", errList, size)
	}
	return readN(r, size)
}

// readN reads n bytes, without trust in there being so many.
func readN(r io.Reader, n uint64) ([]byte, error) {
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, int64(n)); err != nil {
		return nil, fmt.Errorf("%w: %w", errList, noEOF(err))
	}
	return b.Bytes(), nil
}

// check makes sure that a header is one that a tar could have given.
func (h *header) check() error {
	path, err := cleanName(h.Path)
	switch {
	case err != nil:
		return err
	case path != h.Path:
		return fmt.Errorf("name %q", h.Path)
	case h.kind != object:
		return nil
	case h.Path == "" && h.Type != fstree.Directory:
		return fmt.Errorf("the root is a %v", h.Type)
	case h.Mode > 0o7777 || h.Size < 0 || h.Major >= 1<<12 || h.Minor >= 1<<20:
		return fmt.Errorf("entry %q: out of range", h.Path)
	case h.Type == fstree.Symlink && (h.Linkname == "" || len(h.Linkname) >= maxPath):
		return fmt.Errorf("symlink to a name of %d bytes", len(h.Linkname))
	case h.Type == fstree.Socket:
		return fmt.Errorf("entry %q is a socket", h.Path)
	}
	if h.Type == fstree.Hardlink {
		if path, err := cleanName(h.Linkname); err != nil || path != h.Linkname {
			return fmt.Errorf("hardlink to %q", h.Linkname)
		}
	}
	return nil
}
