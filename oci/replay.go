package oci

import (
	"context"
	"fmt"
	"io"
)

// Local is what this machine has of an image that it got before: the list of
// its layers, and its files. A layer of which all is there that is needed is
// not fetched.
type Local struct {
	Layers *LayerList
	Files  Files
}

// Files gives the contents of the files that a list tells of.
type Files interface {
	// Open returns the content and the size of the regular file at path. It is
	// read before the next file is opened, in the order of the image as a rule.
	// What is read is right, or an error: the layer is then fetched after all.
	Open(path string) (r io.Reader, size int64, err error)
}

// layer finds layer i of an image, nil when it is not at hand.
func (l *Local) layer(img *Image, i int) *listedLayer {
	if l == nil {
		return nil
	}
	return l.Layers.find(img.manifest.Layers[i].Digest, img.config.RootFS.DiffIDs[i])
}

// HasLayersOf says whether a list has any of the image's layers.
func (img *Image) HasLayersOf(list *LayerList) bool {
	local := &Local{Layers: list}
	for i := range img.manifest.Layers {
		if i < len(img.config.RootFS.DiffIDs) && local.layer(img, i) != nil {
			return true
		}
	}
	return false
}

// canReplay says whether all is at hand that is needed of a layer: what the
// layers above it do not hide. So it is known before anything is fetched.
func (rd *reader) canReplay(listed *listedLayer) bool {
	for e, err := range listed.entries() {
		if err != nil {
			return false
		}
		if rd.contents != nil && e.hasContent() && e.path == "" && !rd.hidden.covers(e.Path) {
			return false
		}
	}
	return true
}

// A replay goes through a layer that is at hand.
type replay struct {
	*reader
	ctx  context.Context
	log  *layerLog
	size int64 // of the layer, compressed
	done int64 // of it, as far as progress was told
	late latePass
}

// replay does what read does, without the layer. If what is at hand is bad, the
// layer is fetched, and gone on with from there.
func (rd *reader) replay(ctx context.Context, listed *listedLayer, l *layerLog) error {
	p := &replay{reader: rd, ctx: ctx, log: l, size: rd.img.manifest.Layers[l.top].Size}
	p.late.open = func() (*tarPass, error) {
		rd.meter.addLocal(-p.done)
		return rd.open(ctx, l.top)
	}
	defer p.late.close()
	err := p.run(listed)
	if t := p.late.pass; t != nil {
		if err == nil {
			err = rd.readTar(t, l)
		}
		return t.end(err)
	}
	if err != nil {
		return err
	}
	rd.localLayers++
	rd.localBytes += p.size
	rd.meter.addLocal(p.size - p.done)
	return nil
}

// run stops when the layer itself was opened.
func (p *replay) run(listed *listedLayer) error {
	next := uint32(0)
	var given int64
	for e, err := range listed.entries() {
		if err != nil {
			return err
		}
		if err := p.countEntries(int(e.ordinal-next) + 1); err != nil {
			return err
		}
		next = e.ordinal + 1
		if err := p.take(p.log, &e.record, p.file(e)); err != nil || p.late.pass != nil {
			return err
		}
		if given += e.Size; e.hasContent() {
			p.tell(given, listed.bytes)
		}
	}
	return context.Cause(p.ctx)
}

// file returns a reader of what is at hand of an entry, nil for nothing: it
// is hidden then.
func (p *replay) file(e *listedEntry) io.Reader {
	if e.path == "" {
		return nil
	}
	return &localFile{
		ctx: p.ctx, files: p.local.Files, path: e.path, ordinal: e.ordinal, size: e.Size, late: &p.late,
	}
}

// tell reports progress in proportion to the bytes of files that were given.
func (p *replay) tell(given, all int64) {
	done := int64(float64(p.size) * min(1, float64(given)/float64(max(all, 1))))
	p.meter.addLocal(done - p.done)
	p.done = done
}

// A localFile reads a file that is at hand. Where that turns out to be bad it
// goes on with the file in the layer: what was read before is right.
type localFile struct {
	ctx     context.Context
	files   Files
	path    string
	ordinal uint32
	size    int64
	late    *latePass

	r      io.Reader
	off    int64
	remote bool // r is of the layer
}

// Read implements io.Reader.
func (f *localFile) Read(p []byte) (int, error) {
	if err := context.Cause(f.ctx); err != nil {
		return 0, err
	}
	if f.off == f.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), f.size-f.off)]
	if !f.remote {
		if n, err := f.readLocal(p); err == nil {
			f.off += int64(n)
			return n, nil
		}
		if err := f.turn(); err != nil {
			return 0, err
		}
	}
	n, err := f.r.Read(p)
	f.off += int64(n)
	return n, err
}

// readLocal gives something, or an error.
func (f *localFile) readLocal(p []byte) (int, error) {
	if f.r == nil {
		r, size, err := f.files.Open(f.path)
		if err != nil {
			return 0, err
		}
		if size != f.size {
			return 0, fmt.Errorf("%q has %d bytes; want %d", f.path, size, f.size)
		}
		f.r = r
	}
	n, err := f.r.Read(p)
	if n > 0 {
		err = nil // it comes again
	}
	return n, err
}

// turn makes r the layer's.
func (f *localFile) turn() error {
	r, err := f.late.entry(f.ordinal, f.size)
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, r, f.off); err != nil {
		return noEOF(err)
	}
	f.r, f.remote = r, true
	return nil
}
