package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
)

// Small files that everybody asks for are kept from the first pass, so that
// it does not cost a pass of its own.
const (
	keptName   = "os-release"
	keptFolder = "usr/lib/abupdate/" // what an image says of itself
	keptSuffix = ".toml"
	keptBytes  = 64 << 10 // of one file
	keptTotal  = 1 << 20  // of all
)

func keep(path string) bool {
	return strings.HasSuffix(path, keptName) || strings.HasPrefix(path, keptFolder) && strings.HasSuffix(path, keptSuffix)
}

// A layerLog is what is left of a layer that was read.
type layerLog struct {
	headerLog
	top  int // the highest place where it is listed
	uses int // places that are still to be flattened
	kept map[uint32][]byte
}

// A reader counts against the limits over all layers.
type reader struct {
	img      *Image
	contents Contents
	limits   Limits
	meter    *meter
	attrs    *attrTable
	hidden   *hiddenSet
	local    *Local
	list     *listWriter // nil: not wanted
	late     bool        // list is finished by Plan.ListLayers
	layers   []*layerLog

	entries  int
	metadata int64
	given    int64 // bytes that went to contents
	keptLeft int64

	localLayers int
	localBytes  int64
}

func newReader(img *Image, contents Contents, opt ReadOptions) *reader {
	layers := img.manifest.Layers
	rd := &reader{
		img: img, contents: contents, limits: img.opt.Limits.withDefaults(), meter: newMeter(img.opt, "read", layers), local: opt.Local,
		attrs: new(attrTable), hidden: newHiddenSet(img.mask()), layers: make([]*layerLog, len(layers)), keptLeft: keptTotal,
	}
	if opt.List && contents != nil {
		rd.list, rd.late = new(listWriter), opt.Late
	}
	return rd
}

// A contentsError is one that Contents returned, not the image's fault.
type contentsError struct{ error }

func (e *contentsError) Unwrap() error { return e.error }

// explain names the layer that an error is about.
func (img *Image) explain(i int, err error) error {
	var own *contentsError
	if errors.As(err, &own) {
		return own.error
	}
	return fmt.Errorf("%s: %w", img.layerName(i), err)
}

// layer gets the headers of layer i and gives away its contents: from what is
// at hand if all that is needed is.
func (rd *reader) layer(ctx context.Context, i int) error {
	l := &layerLog{headerLog: headerLog{attrs: rd.attrs}, top: i, uses: 1}
	listed := rd.local.layer(rd.img, i)
	if listed != nil && !rd.canReplay(listed) {
		listed = nil
	}
	var err error
	if listed != nil {
		err = rd.replay(ctx, listed, l)
	} else {
		err = rd.read(ctx, l)
	}
	if err != nil {
		return err
	}
	l.finish()
	rd.layers[i] = l
	if i > 0 {
		for _, r := range l.all(false) {
			rd.hidden.add(&r.header)
		}
	}
	return nil
}

func (rd *reader) read(ctx context.Context, l *layerLog) error {
	t, err := rd.open(ctx, l.top)
	if err != nil {
		return err
	}
	defer t.Close()
	return t.end(rd.readTar(t, l))
}

// readTar reads the entries from the next one on.
func (rd *reader) readTar(t *tarPass, l *layerLog) error {
	for ; ; t.next++ {
		th, err := t.tar.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading as tar after %d entries: %w", t.next, noEOF(err))
		}
		if err := rd.countEntries(1); err != nil {
			return err
		}
		h, ok, err := convert(th)
		if err != nil {
			return fault.Errorf(fault.Verify, "entry %q: %w", th.Name, err)
		}
		if !ok {
			continue
		}
		h.ordinal = t.next
		if err := rd.take(l, &record{header: h, content: fstree.NoContent}, t.tar); err != nil {
			return err
		}
	}
}

func (rd *reader) countEntries(n int) error {
	if rd.entries += n; rd.entries > rd.limits.Entries {
		return fault.Errorf(fault.Refused, "image has more than %d entries", rd.limits.Entries)
	}
	return nil
}

// take puts an entry into the layer's log, and gives its content away, unless
// there is no reader for it.
func (rd *reader) take(l *layerLog, r *record, content io.Reader) (err error) {
	if rd.metadata += r.metadataBytes(); rd.metadata > rd.limits.MetadataBytes {
		return fault.Errorf(fault.Refused, "image has more than %d bytes of names and extended attributes", rd.limits.MetadataBytes)
	}
	if r.hasContent() && content != nil {
		if r.content, err = rd.content(l, &r.header, content); err != nil {
			return fmt.Errorf("entry %q: %w", r.Path, err)
		}
	}
	l.append(r)
	if rd.attrs.bytes > rd.limits.XattrBytes {
		return fault.Errorf(fault.Refused, "image has more than %d bytes of extended attributes that differ", rd.limits.XattrBytes)
	}
	return nil
}

// content gives a file's content away unless an upper layer hides it.
func (rd *reader) content(l *layerLog, h *header, tr io.Reader) (fstree.Content, error) {
	if h.Size <= min(keptBytes, rd.keptLeft) && keep(h.Path) {
		b := make([]byte, h.Size)
		if _, err := io.ReadFull(tr, b); err != nil {
			return fstree.NoContent, noEOF(err)
		}
		l.keep(h.ordinal, b)
		rd.keptLeft -= h.Size
		tr = bytes.NewReader(b)
	}
	if rd.contents == nil || rd.hidden.covers(h.Path) {
		return fstree.NoContent, nil
	}
	return rd.give(h.Path, h.Size, tr)
}

func (l *layerLog) keep(ordinal uint32, b []byte) {
	if l.kept == nil {
		l.kept = map[uint32][]byte{}
	}
	l.kept[ordinal] = b
}

// give lets contents have one file. What was given is bounded even where no
// name is left for it: a sparse file costs its publisher nothing.
func (rd *reader) give(path string, size int64, r io.Reader) (fstree.Content, error) {
	if rd.given += size; rd.given > rd.limits.TotalBytes || rd.given < 0 {
		return fstree.NoContent, fault.Errorf(fault.Refused, "files have more than %d bytes", rd.limits.TotalBytes)
	}
	content := &contentReader{r: r, left: size}
	c, err := rd.contents.File(path, size, content)
	switch {
	case content.err != nil: // the source's failure explains the other
		return c, content.err
	case err != nil:
		return c, &contentsError{err}
	case c == fstree.NoContent:
		return c, &contentsError{fmt.Errorf("taking %q: %d bytes have no content", path, size)}
	}
	return c, nil
}
