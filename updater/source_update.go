package updater

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/verity"
)

// An updateSource is an update that build made: its sizes and its hash tree
// are known before its first block.
type updateSource struct {
	img  *oci.Image
	raw  []byte
	desc *manifest.Manifest
}

func (s *updateSource) describe() (manifest.Manifest, error) {
	raw, err := s.img.UpdateConfig()
	if err != nil {
		return manifest.Manifest{}, err
	}
	desc, err := manifest.Decode(raw)
	if err != nil {
		return manifest.Manifest{}, fault.Errorf(fault.Verify, "reading update %s: %w", s.img.Reference(), err)
	}
	s.raw, s.desc = raw, desc
	return *desc, nil
}

func (s *updateSource) survey(context.Context) (manifest.Manifest, error) { return *s.desc, nil }

func (s *updateSource) dropped() map[string]int { return nil }

func (s *updateSource) fits(slot bootctl.Slot, capacity int64) error {
	if s.desc != nil && s.desc.ImageBytes > capacity {
		return fault.Errorf(fault.NoRoom, "update %s has %d bytes; slot %v holds %d", s.img.Reference(), s.desc.ImageBytes, slot, capacity)
	}
	return nil
}

func (s *updateSource) fill(ctx context.Context, w target, progress Progress) (*filled, error) {
	tree, err := s.tree(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the hash tree of update %s: %w", s.img.Reference(), err)
	}
	if err := s.copy(ctx, tree, w, progress); err != nil {
		return nil, fmt.Errorf("copying update %s: %w", s.img.Reference(), err)
	}
	return &filled{tree: tree, manifest: *s.desc, raw: s.raw}, nil
}

// tree fetches the hash tree and checks it up to the manifest's root hash.
func (s *updateSource) tree(ctx context.Context) (*verity.Tree, error) {
	r, size, err := s.img.Blob(ctx, manifest.TreeMediaType)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if size != s.desc.TreeBytes {
		return nil, fault.Errorf(fault.Verify, "%d bytes; the manifest says %d", size, s.desc.TreeBytes)
	}
	buf := make([]byte, size)
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // the end is where the digest is checked
		return nil, err
	}
	root, err := s.desc.RootHashBytes()
	if err != nil {
		return nil, err
	}
	tree, err := verity.ReadTree(bytes.NewReader(buf), size, root)
	if err != nil {
		return nil, fault.Wrap(fault.Verify, err)
	}
	if tree.DataBlocks != s.desc.DataBlocks {
		return nil, fault.Errorf(fault.Verify, "it covers %d blocks; the manifest says %d", tree.DataBlocks, s.desc.DataBlocks)
	}
	return tree, nil
}

// copyChunk is how much is checked and written at a time, in bytes.
const copyChunk = 1 << 20

// copy writes the blocks, each checked against the tree. What the slot has
// already is not fetched, as far as the stream allows.
func (s *updateSource) copy(ctx context.Context, tree *verity.Tree, w target, progress Progress) error {
	remote := &stream{open: func() (io.ReadCloser, error) { return s.blob(ctx) }}
	defer remote.close()
	size := s.desc.ImageBytes
	var first []byte
	buf := make([]byte, copyChunk)
	for done := int64(0); done < size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		chunk := buf[:min(copyChunk, size-done)]
		if !w.local(tree, done/verity.BlockSize, chunk) {
			if err := remote.readAt(chunk, done); err != nil {
				return err
			}
			if err := verifyBlocks(tree, done/verity.BlockSize, chunk); err != nil {
				return fault.Wrap(fault.Verify, err)
			}
		}
		done += int64(len(chunk))
		if first == nil {
			first, chunk = bytes.Clone(chunk[:verity.BlockSize]), chunk[verity.BlockSize:]
		}
		if _, err := w.Write(chunk); err != nil {
			return err
		}
		progress.Report(StepWrite, done, size)
	}
	return w.WriteFirst(first)
}

// blob opens the squashfs.
func (s *updateSource) blob(ctx context.Context) (io.ReadCloser, error) {
	r, size, err := s.img.Blob(ctx, manifest.SquashfsMediaType)
	if err != nil {
		return nil, err
	}
	if size != s.desc.ImageBytes {
		r.Close()
		return nil, fault.Errorf(fault.Verify, "%d bytes of squashfs; the manifest says %d", size, s.desc.ImageBytes)
	}
	return r, nil
}

// verifyBlocks checks the blocks in p, the first of which is number i.
func verifyBlocks(tree *verity.Tree, i int64, p []byte) error {
	for len(p) > 0 {
		if err := tree.VerifyBlock(i, p[:verity.BlockSize]); err != nil {
			return err
		}
		i, p = i+1, p[verity.BlockSize:]
	}
	return nil
}

// A stream is something remote that is read forward only, and opened when the
// first of it is needed.
type stream struct {
	open func() (io.ReadCloser, error)
	r    io.ReadCloser
	off  int64
}

// readAt fills p from off on; off must not go back.
func (s *stream) readAt(p []byte, off int64) error {
	if s.r == nil {
		r, err := s.open()
		if err != nil {
			return err
		}
		s.r = r
	}
	if n, err := io.CopyN(io.Discard, s.r, off-s.off); err != nil {
		return fmt.Errorf("reading at byte %d: %w", s.off+n, noEOF(err))
	}
	if _, err := io.ReadFull(s.r, p); err != nil {
		return fmt.Errorf("reading at byte %d: %w", off, noEOF(err))
	}
	s.off = off + int64(len(p))
	return nil
}

func (s *stream) close() {
	if s.r != nil {
		s.r.Close()
	}
}

// noEOF turns the end of a stream into an error of its own.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
