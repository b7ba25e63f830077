package oci

import (
	"archive/tar"
	"context"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Small files with these names are kept from the first pass, so that asking
// for them does not cost a pass of its own.
const (
	keptName  = "os-release"
	keptBytes = 64 << 10
)

// An Index holds the headers of every layer's entries, in memory: some 200
// bytes for each.
type Index struct {
	img    *Image
	layers []layerIndex
}

type layerIndex struct {
	headers []header
	kept    map[int32][]byte // contents by ordinal
}

// ReadIndex is the first pass: it reads every layer to its end, checks its
// digest, size and diffID, and keeps the headers of its entries. A registry's
// layers are downloaded meanwhile.
func ReadIndex(ctx context.Context, img *Image) (*Index, error) {
	if img.IsUpdate() {
		return nil, fault.Errorf(fault.Usage, "%v: is an update, which has no layers of files", img.ref)
	}
	layers, diffIDs := img.manifest.Layers, img.config.RootFS.DiffIDs
	if len(layers) != len(diffIDs) {
		return nil, fault.Errorf(fault.Verify, "%v: manifest has %d layers, config %d diffIDs", img.ref, len(layers), len(diffIDs))
	}
	for i, d := range layers {
		if !isLayerType(d.MediaType) {
			return nil, fault.Errorf(fault.Usage, "%s: is of type %q, not a file system layer", img.layerName(i), d.MediaType)
		}
	}
	if err := img.src.prepare(ctx, layers, img.opt); err != nil {
		return nil, fmt.Errorf("%v: %w", img.ref, err)
	}
	ix := &Index{img: img, layers: make([]layerIndex, len(layers))}
	ir := indexReader{limits: img.opt.Limits.withDefaults(), meter: newMeter(img.opt, "index", layers)}
	seen := map[v1.Hash]int{}
	for i, d := range layers {
		if j, ok := seen[d.Digest]; ok && diffIDs[i] == diffIDs[j] {
			ix.layers[i] = ix.layers[j] // listed twice; flattening does not change it
			ir.meter.add(d.Size)
			continue
		}
		seen[d.Digest] = i
		var err error
		if ix.layers[i], err = ir.read(ctx, img.src, d, diffIDs[i]); err != nil {
			return nil, fmt.Errorf("%s: %w", img.layerName(i), err)
		}
	}
	return ix, nil
}

// An indexReader counts against the limits over all layers.
type indexReader struct {
	limits   Limits
	meter    *meter
	entries  int
	metadata int64
}

func (ir *indexReader) read(ctx context.Context, src source, desc v1.Descriptor, diffID v1.Hash) (layerIndex, error) {
	lr, err := openLayer(ctx, src, desc, ir.meter.add)
	if err != nil {
		return layerIndex{}, err
	}
	defer lr.Close()
	h, err := v1.Hasher(diffID.Algorithm)
	if err != nil {
		return layerIndex{}, fault.Errorf(fault.Verify, "diffID %v: %w", diffID, err)
	}
	plain := &plainReader{r: lr, h: h, limit: ir.limits.LayerBytes}
	li, err := ir.readTar(plain)
	if err == nil {
		_, err = io.Copy(io.Discard, plain) // padding behind the tar's end
	}
	if err != nil {
		// A digest that does not match explains every other complaint.
		if digestErr := lr.finish(); digestErr != nil {
			err = digestErr
		}
		return layerIndex{}, corrupt(err)
	}
	if err := lr.finish(); err != nil {
		return layerIndex{}, err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != diffID.Hex {
		return layerIndex{}, fault.Errorf(fault.Verify, "uncompressed content has digest %s:%s; config says %v", diffID.Algorithm, got, diffID)
	}
	return li, nil
}

func (ir *indexReader) readTar(r io.Reader) (layerIndex, error) {
	var li layerIndex
	tr := tar.NewReader(r)
	for ordinal := int32(0); ; ordinal++ {
		th, err := tr.Next()
		if err == io.EOF {
			return li, nil
		}
		if err != nil {
			return li, fmt.Errorf("reading as tar after %d entries: %w", ordinal, noEOF(err))
		}
		if ir.entries++; ir.entries > ir.limits.Entries {
			return li, fault.Errorf(fault.Refused, "image has more than %d entries", ir.limits.Entries)
		}
		h, ok, err := convert(th)
		if err != nil {
			return li, fault.Errorf(fault.Verify, "entry %q: %w", th.Name, err)
		}
		if !ok {
			continue
		}
		h.ordinal = ordinal
		if ir.metadata += h.metadataBytes(); ir.metadata > ir.limits.MetadataBytes {
			return li, fault.Errorf(fault.Refused, "image has more than %d bytes of names and extended attributes", ir.limits.MetadataBytes)
		}
		li.headers = append(li.headers, h)
		if h.Size <= keptBytes && h.Size > 0 && strings.HasSuffix(h.Path, keptName) {
			if err := li.keep(h, tr); err != nil {
				return li, fmt.Errorf("entry %q: %w", th.Name, noEOF(err))
			}
		}
	}
}

func (li *layerIndex) keep(h header, r io.Reader) error {
	b := make([]byte, h.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	if li.kept == nil {
		li.kept = map[int32][]byte{}
	}
	li.kept[h.ordinal] = b
	return nil
}

// A plainReader hashes a layer's uncompressed bytes and stops a bomb.
type plainReader struct {
	r        io.Reader
	h        hash.Hash
	n, limit int64
}

func (p *plainReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.h.Write(b[:n])
	if p.n += int64(n); p.n > p.limit {
		return n, fault.Errorf(fault.Refused, "layer has more than %d bytes when decompressed", p.limit)
	}
	return n, err
}
