package oci

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/klauspost/compress/zstd"
)

// A listWriter makes a LayerList: headers before the layers are flattened,
// which gives their logs back, and where contents are afterwards. A nil one
// does nothing.
type listWriter struct {
	layers []*layerWriter // by place; nil where the layer is listed higher up, or cannot be in the list
}

type layerWriter struct {
	digest, diffID          []byte
	bytes                   int64
	sets, headers, contents bytes.Buffer
	nodes                   []fstree.Node // by ordinal: the name that the content has
}

// listEncoder holds 2 MB, so nobody keeps it.
func listEncoder() (*zstd.Encoder, error) {
	zw, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(listWindow), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("listing layers: %w", err)
	}
	return zw, nil
}

// addHeaders takes the headers of all layers.
func (w *listWriter) addHeaders(img *Image, layers []*layerLog) error {
	if w == nil {
		return nil
	}
	zw, err := listEncoder()
	if err != nil {
		return err
	}
	w.layers = make([]*layerWriter, len(layers))
	for i, log := range layers {
		digest, diffID := img.manifest.Layers[i].Digest, img.config.RootFS.DiffIDs[i]
		if log.top != i || digest.Algorithm != "sha256" || diffID.Algorithm != "sha256" {
			continue
		}
		l := new(layerWriter)
		if l.digest, err = hex.DecodeString(digest.Hex); err == nil {
			l.diffID, err = hex.DecodeString(diffID.Hex)
		}
		if err == nil {
			err = l.addHeaders(zw, log)
		}
		if err != nil {
			return fmt.Errorf("listing layers: %w", err)
		}
		w.layers[i] = l
	}
	return nil
}

// addHeaders writes the log anew: without contents, and with the sets of this
// layer alone.
func (l *layerWriter) addHeaders(zw *zstd.Encoder, log *layerLog) error {
	zw.Reset(&l.headers)
	out := headerLog{attrs: new(attrTable)}
	last := uint32(0)
	for _, r := range log.all(false) {
		if r.droppedSet != 0 {
			r.dropped = log.attrs.names(uint64(r.droppedSet - 1))
		}
		if r.hasContent() {
			l.bytes += r.Size
		}
		r.content, last = fstree.NoContent, r.ordinal
		out.append(r)
		if err := l.flush(zw, &out, 1); err != nil {
			return err
		}
	}
	if err := l.flush(zw, &out, 0); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	l.nodes = make([]fstree.Node, last+1)
	for i := range l.nodes {
		l.nodes[i] = fstree.NoNode
	}
	zw.Reset(&l.sets)
	for _, set := range out.attrs.sets {
		if _, err := zw.Write(appendBytes(nil, set)); err != nil {
			return err
		}
	}
	return zw.Close()
}

// flush writes all pages but so many.
func (l *layerWriter) flush(zw *zstd.Encoder, log *headerLog, but int) error {
	for len(log.pages) > but {
		p := log.pages[0]
		head := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(len(p.buf))), uint64(p.ordinal))
		if _, err := zw.Write(head); err != nil {
			return err
		}
		if _, err := zw.Write(p.buf); err != nil {
			return err
		}
		log.pages = log.pages[1:]
	}
	return nil
}

// found notes that n has the content of an entry.
func (w *listWriter) found(at origin, n fstree.Node) {
	if w != nil && w.layers[at.layer()] != nil {
		w.layers[at.layer()].nodes[at.ordinal()] = n
	}
}

// finish returns the list.
func (w *listWriter) finish(tree *fstree.Tree) ([]byte, error) {
	if w == nil {
		return nil, nil
	}
	zw, err := listEncoder()
	if err != nil {
		return nil, err
	}
	layers := slices.DeleteFunc(w.layers, func(l *layerWriter) bool { return l == nil })
	size := listHead + listRow*len(layers)
	for _, l := range layers {
		if err := l.addContents(zw, tree); err != nil {
			return nil, fmt.Errorf("listing layers: %w", err)
		}
		size += l.sets.Len() + l.headers.Len() + l.contents.Len()
	}
	w.layers = nil
	b := append(make([]byte, 0, size), listMagic...)
	b = binary.LittleEndian.AppendUint32(append(b, listVersion, 0, 0, 0), uint32(len(layers)))
	for _, l := range layers {
		b = append(append(b, l.digest...), l.diffID...)
		b = binary.LittleEndian.AppendUint64(b, uint64(l.bytes))
		for _, frame := range l.frames() {
			b = binary.LittleEndian.AppendUint32(b, uint32(frame.Len()))
		}
	}
	for _, l := range layers {
		for _, frame := range l.frames() {
			b = append(b, frame.Bytes()...)
			*frame = bytes.Buffer{}
		}
	}
	return b, nil
}

func (l *layerWriter) frames() []*bytes.Buffer {
	return []*bytes.Buffer{&l.sets, &l.headers, &l.contents}
}

// addContents goes through the headers once more, for the names that files
// have in their layer.
func (l *layerWriter) addContents(zw *zstd.Encoder, tree *fstree.Tree) error {
	zw.Reset(&l.contents)
	listed := listedLayer{sets: l.sets.Bytes(), headers: l.headers.Bytes()}
	var b []byte
	for e, err := range listed.withoutPaths() {
		if err != nil {
			return err
		}
		if !e.hasContent() {
			continue
		}
		n := l.nodes[e.ordinal]
		if n == fstree.NoNode {
			b = append(b[:0], contentHidden)
		} else if path := tree.Path(n); path == e.Path {
			b = append(b[:0], contentSame)
		} else {
			b = appendBytes(append(b[:0], contentOther), path)
		}
		if _, err := zw.Write(b); err != nil {
			return err
		}
	}
	l.nodes = nil
	return zw.Close()
}
