package squashfs

import (
	"bytes"
	"io"
)

// largeLimit is the length up to which a file that is most likely there
// already is read before any of it is written.
const largeLimit = 4 << 20

// A largeKey is what two files of more than wholeLimit that are equal have in
// common, and others hardly ever.
type largeKey struct {
	size int64
	head [16]byte // tag of the first wholeLimit bytes
}

// A largeFile is the first file with a key.
type largeFile struct {
	content uint32
	sum     [16]byte
}

// addLarge takes a file of more than wholeLimit bytes. Memory does not allow to
// hold it back until all of it has been compared with those that came before.
// But if one of the same length began with the same bytes, it is most likely
// that one again, as with the programs that git has under two names: such a
// file is read whole, up to largeLimit.
func (w *Writer) addLarge(path string, size int64, r io.Reader) (uint32, error) {
	head := w.whole[:wholeLimit]
	if err := readContent(r, head, 0, size); err != nil {
		return none, err
	}
	all := io.MultiReader(bytes.NewReader(head), r)
	if size > largeLimit {
		i := w.contents.add(size, place{fragment: none, at: w.nextRun()})
		return i, w.addRun(path, size, all, nil)
	}
	key := largeKey{size, w.tagger.tag(head)}
	sum := chain{tagger: w.tagger}
	first, likely := w.contents.large[key]
	if likely {
		if len(w.whole) < largeLimit {
			w.whole = append(make([]byte, 0, largeLimit), head...)[:largeLimit]
		}
		data := w.whole[:size]
		if err := readContent(r, data[wholeLimit:], wholeLimit, size); err != nil {
			return none, err
		}
		if err := expectEnd(r, size); err != nil {
			return none, err
		}
		for p := data; len(p) > 0; p = p[min(len(p), w.opt.BlockSize):] {
			sum.add(p[:min(len(p), w.opt.BlockSize)])
		}
		if sum.sum == first.sum {
			return w.duplicate(first.content, size), nil
		}
		all, sum = bytes.NewReader(data), chain{tagger: w.tagger}
	}
	i := w.contents.add(size, place{fragment: none, at: w.nextRun()})
	if err := w.addRun(path, size, all, &sum); err != nil {
		return none, err
	}
	if !likely {
		w.contents.addLarge(key, largeFile{i, sum.sum})
	}
	return i, nil
}

// A chain is a tag of many pieces.
type chain struct {
	tagger *tagger
	sum    [16]byte
}

func (c *chain) add(piece []byte) {
	tag := c.tagger.tag(piece)
	c.sum = c.tagger.tag(append(c.sum[:], tag[:]...))
}
