package oci

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// The list of an image's layers, as ReadWith makes it and a slot keeps it.
// Integers are little endian; frames are zstd.
//
//	 0  magic "ABUPLYRS"
//	 8  version u16: 1; reserved u16, zero
//	12  number of layers u32
//	16  a row of 84 bytes for each layer:
//	     0  digest, 32 bytes, of SHA-256 as the next
//	    32  diffID, 32 bytes
//	    64  bytes of its files u64
//	    72  length of each of its frames, 3 * u32
//	then the frames, three for each layer:
//	    sets      uvarint length and bytes for each set of an attrTable
//	    headers   pages of a headerLog: uvarint length, uvarint first ordinal, bytes
//	    contents  for each file of more than no bytes: 0, its content is not in
//	              the image; 1, it is, by the same name; 2, it is by another
//	              one: uvarint length, name
const (
	listMagic   = "ABUPLYRS"
	listVersion = 1
	listHead    = 16
	listRow     = 84

	contentHidden = 0
	contentSame   = 1
	contentOther  = 2
)

// A window as small as this keeps what the frames take to be read small.
const listWindow = 256 << 10

var errList = errors.New("list of layers is corrupt")

// A LayerList tells of each layer of an image what was in it, and where in the
// image the contents of its files are.
type LayerList struct{ layers []listedLayer }

// A listedLayer is one of them, with its frames.
type listedLayer struct {
	digest, diffID          v1.Hash
	bytes                   int64 // of its files
	sets, headers, contents []byte
}

// ParseLayers reads the index of a list, and keeps b.
func ParseLayers(b []byte) (*LayerList, error) {
	if len(b) < listHead || string(b[:8]) != listMagic {
		return nil, fmt.Errorf("%w: no magic", errList)
	}
	le := binary.LittleEndian
	if v := le.Uint16(b[8:]); v != listVersion {
		return nil, fmt.Errorf("list of layers has version %d; this program knows %d", v, listVersion)
	}
	n := int64(le.Uint32(b[12:]))
	if n*listRow > int64(len(b)-listHead) {
		return nil, fmt.Errorf("%w: %d layers in %d bytes", errList, n, len(b))
	}
	rows, rest := b[listHead:listHead+n*listRow], b[listHead+n*listRow:]
	list := &LayerList{layers: make([]listedLayer, n)}
	for i := range list.layers {
		l, row := &list.layers[i], rows[i*listRow:]
		l.digest, l.diffID = sha256Hash(row[:32]), sha256Hash(row[32:64])
		l.bytes = int64(le.Uint64(row[64:]))
		for k, frame := range []*[]byte{&l.sets, &l.headers, &l.contents} {
			size := int64(le.Uint32(row[72+4*k:]))
			if size > int64(len(rest)) {
				return nil, fmt.Errorf("%w: layer %d of %d ends behind it", errList, i+1, n)
			}
			*frame, rest = rest[:size], rest[size:]
		}
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%w: %d bytes behind it", errList, len(rest))
	}
	return list, nil
}

func sha256Hash(b []byte) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(b)} }

// Len returns the number of layers.
func (l *LayerList) Len() int { return len(l.layers) }

func (l *LayerList) find(digest, diffID v1.Hash) *listedLayer {
	if l == nil {
		return nil
	}
	for i := range l.layers {
		if l.layers[i].digest == digest && l.layers[i].diffID == diffID {
			return &l.layers[i]
		}
	}
	return nil
}

// A listedEntry is an entry of a layer. It is good until the next one.
type listedEntry struct {
	record
	path string // of its content in the image, "" for none
}

// entries gives the entries of a layer, in its order. After an error comes
// nothing.
func (l *listedLayer) entries() iter.Seq2[*listedEntry, error] {
	return func(yield func(*listedEntry, error) bool) {
		d := listDecoder{yield: yield}
		defer d.close()
		err := d.open(&d.contents, l.contents)
		if err == nil {
			err = d.decode(l)
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

// withoutPaths gives the entries of a layer of which there are no contents yet.
func (l *listedLayer) withoutPaths() iter.Seq2[*listedEntry, error] {
	return func(yield func(*listedEntry, error) bool) {
		d := listDecoder{yield: yield}
		defer d.close()
		if err := d.decode(l); err != nil {
			yield(nil, err)
		}
	}
}

// paths finds where the contents of picks are, by their ordinals. What is not
// in the image is left out.
func (l *listedLayer) paths(picks []pick) map[uint32]string {
	if l == nil {
		return nil
	}
	wanted := map[uint32]bool{}
	for _, pk := range picks {
		wanted[pk.at.ordinal()] = true
	}
	found := map[uint32]string{}
	for e, err := range l.entries() {
		if err != nil {
			return nil
		}
		if e.path != "" && wanted[e.ordinal] {
			found[e.ordinal] = e.path
		}
	}
	return found
}
