package squashfs

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
)

// wholeLimit is the length up to which a file is read before any of it is
// written, which is what lets an equal one be found in time. For longer ones
// see addLarge.
const wholeLimit = 1 << 20

// addContent takes in size bytes of r and returns the content's number, or
// none for an empty file.
func (w *Writer) addContent(path string, size int64, r io.Reader) (uint32, error) {
	w.stats.DataIn += size
	switch {
	case size < 0:
		return none, fmt.Errorf("size %d", size)
	case size == 0 && r == nil:
		return none, nil
	case r == nil:
		return none, errors.New("no content")
	}
	if w.whole == nil {
		w.whole = make([]byte, wholeLimit)
	}
	if size > wholeLimit {
		return w.addLarge(path, size, r)
	}
	data := w.whole[:size]
	if err := readContent(r, data, 0, size); err != nil {
		return none, err
	}
	if err := expectEnd(r, size); err != nil {
		return none, err
	}
	if size == 0 {
		return none, nil
	}
	tag := w.tagger.tag(data)
	slot, i, ok := w.contents.find(tag)
	if ok {
		return w.duplicate(i, size), nil
	}
	p := place{size: uint32(size), fragment: none}
	if int(size) <= w.opt.BlockSize/2 {
		i = w.contents.addTagged(slot, tag, p)
		w.addFragment(path, i, data)
		return i, nil
	}
	p.at = w.nextRun()
	i = w.contents.addTagged(slot, tag, p)
	return i, w.addRun(path, size, bytes.NewReader(data), nil)
}

// duplicate counts a file of size bytes that content i is for.
func (w *Writer) duplicate(i uint32, size int64) uint32 {
	w.stats.Duplicates++
	w.stats.DuplicateBytes += size
	return i
}

// addRun passes size bytes of r on block by block, and shows them to seen if
// there is one.
func (w *Writer) addRun(path string, size int64, r io.Reader, seen *chain) error {
	family := familyOf(path)
	for off := int64(0); off < size; off += int64(w.opt.BlockSize) {
		j := w.pipe.take(int(min(int64(w.opt.BlockSize), size-off)))
		if err := readContent(r, j.raw, off, size); err != nil {
			return err // w.fail ends the pipeline: the job is not missed
		}
		if seen != nil {
			seen.add(j.raw)
		}
		j.first, j.family = off == 0, family
		w.pipe.submit(j)
		if err := w.pipe.failed(); err != nil {
			return err
		}
	}
	return expectEnd(r, size)
}

func (w *Writer) nextRun() uint32 {
	w.runs++
	return w.runs - 1
}

// readContent fills p with the bytes from off on of a content of size bytes.
func readContent(r io.Reader, p []byte, off, size int64) error {
	n, err := io.ReadFull(r, p)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		if len(p) == 0 {
			return nil
		}
		return fmt.Errorf("content ends at byte %d of %d", off+int64(n), size)
	}
	if err != nil {
		return fmt.Errorf("reading content at byte %d: %w", off+int64(n), err)
	}
	return nil
}

func expectEnd(r io.Reader, size int64) error {
	var one [1]byte
	switch _, err := io.ReadFull(r, one[:]); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("content is longer than its %d bytes", size)
	default:
		return fmt.Errorf("reading content at byte %d: %w", size, err)
	}
}

// A tagger tells contents apart by 128 bits: the authentication tag of GCM
// under a key that nobody knows, a universal hash. Two different contents of
// up to 1 MiB have equal tags with a probability below 2^-111, also when
// somebody picks the contents, at several times the speed of SHA-256. Tags
// only find duplicates and leave no trace in the image.
type tagger struct {
	aead cipher.AEAD
	out  [16]byte
}

func newTagger() (*tagger, error) {
	var key [32]byte
	rand.Read(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, fmt.Errorf("starting the duplicate search: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("starting the duplicate search: %w", err)
	}
	return &tagger{aead: aead}, nil
}

func (t *tagger) tag(data []byte) [16]byte {
	var nonce [12]byte
	t.aead.Seal(t.out[:0], nonce[:], nil, data)
	return t.out
}
