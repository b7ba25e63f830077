package oci

import (
	"archive/tar"
	"context"
	"errors"
	"io"

	"github.com/abupdate/abupdate/internal/fault"
)

// A tarPass goes through the tar in a layer's blob.
type tarPass struct {
	*layerReader
	check *plainCheck // nil: the diffID is not compared
	tar   *tar.Reader
	next  uint32 // ordinal of the entry that comes next
}

func newTarPass(lr *layerReader, check *plainCheck) *tarPass {
	return &tarPass{layerReader: lr, check: check, tar: tar.NewReader(lr)}
}

// open begins to read layer i for the first time.
func (rd *reader) open(ctx context.Context, i int) (*tarPass, error) {
	desc, diffID := rd.img.manifest.Layers[i], rd.img.config.RootFS.DiffIDs[i]
	check, err := newPlainCheck(diffID, rd.limits.LayerBytes)
	if err != nil {
		return nil, err
	}
	blob, err := rd.img.src.blob(ctx, desc)
	if err != nil {
		return nil, err
	}
	lr, err := openLayer(ctx, counted(blob, rd.meter.add), desc, check)
	if err != nil {
		return nil, err
	}
	return newTarPass(lr, check), nil
}

// openAgain begins to read layer i once more.
func (img *Image) openAgain(ctx context.Context, i int, progress func(int64)) (*tarPass, error) {
	desc := img.manifest.Layers[i]
	blob, err := img.src.again(ctx, desc, progress)
	if err != nil {
		return nil, err
	}
	lr, err := openLayer(ctx, blob, desc, nil)
	if err != nil {
		return nil, err
	}
	return newTarPass(lr, nil), nil
}

// entry goes forward to an entry and returns its content.
func (t *tarPass) entry(ordinal uint32, size int64) (io.Reader, error) {
	var th *tar.Header
	for ; t.next <= ordinal; t.next++ {
		var err error
		if th, err = t.tar.Next(); err != nil {
			return nil, noEOF(err)
		}
	}
	if th == nil {
		return nil, errors.New("was passed over already")
	}
	if th.Size != size {
		return nil, fault.Errorf(fault.Verify, "has %d bytes now; had %d", th.Size, size)
	}
	return t.tar, nil
}

// end reads what is left, unless there was an error before, and says whether
// it was the layer that was wanted.
func (t *tarPass) end(err error) error {
	if err == nil {
		_, err = io.Copy(io.Discard, t.layerReader) // padding behind the tar's end
	}
	if err := t.verdict(err); err != nil || t.check == nil {
		return err
	}
	return t.check.verdict()
}

// A latePass is a tarPass that is opened when the first of it is needed.
type latePass struct {
	open func() (*tarPass, error)
	pass *tarPass
}

func (l *latePass) entry(ordinal uint32, size int64) (io.Reader, error) {
	if l.pass == nil {
		pass, err := l.open()
		if err != nil {
			return nil, err
		}
		l.pass = pass
	}
	return l.pass.entry(ordinal, size)
}

func (l *latePass) close() {
	if l.pass != nil {
		l.pass.Close()
	}
}
