package verity

import (
	"bytes"
	"fmt"
	"io"
	"math"
)

// A Tree is the hash tree of an image, whole and consistent. It holds 32
// bytes per block of data.
type Tree struct {
	Params
	DataBlocks int64
	RootHash   []byte
	// levels holds the hashes of each level without padding: levels[0] those
	// of the data blocks, the last one those that the top hash block holds.
	// An image of one block has no hash blocks: its hash is the root hash.
	levels [][]byte
}

func newTree(p Params, leaves []byte) *Tree {
	t := &Tree{Params: p, DataBlocks: int64(len(leaves) / hashSize), levels: [][]byte{leaves}}
	top := leaves
	for len(top) > hashSize {
		top = hashLevel(top, p.Salt)
		t.levels = append(t.levels, top)
	}
	t.RootHash = top
	if n := len(t.levels); n > 1 {
		t.levels = t.levels[:n-1] // the root hash is in no block
	}
	return t
}

// hashLevel returns the hashes of a level's blocks, the last of which is
// filled up with zeros.
func hashLevel(level, salt []byte) []byte {
	whole := len(level) / BlockSize
	hashes := make([]byte, (len(level)+BlockSize-1)/BlockSize*hashSize)
	hashParallel(hashes, level[:whole*BlockSize], salt)
	if rest := level[whole*BlockSize:]; len(rest) > 0 {
		last := make([]byte, BlockSize)
		copy(last, rest)
		hashBlocks(hashes[whole*hashSize:], last, salt)
	}
	return hashes
}

// levelBlocks returns the number of hash blocks of each level, the one above
// the data first; none for an image of one block.
func levelBlocks(dataBlocks int64) []int64 {
	var levels []int64
	for n := dataBlocks; n > 1; {
		n = (n-1)/hashesPerBlock + 1
		levels = append(levels, n)
	}
	return levels
}

// TreeBytes returns the length of superblock and tree for an image of
// dataBlocks blocks, in bytes.
func TreeBytes(dataBlocks int64) int64 {
	n := int64(1)
	for _, blocks := range levelBlocks(dataBlocks) {
		n += blocks
	}
	return n * BlockSize
}

// Bytes returns the length of what WriteTo writes.
func (t *Tree) Bytes() int64 { return TreeBytes(t.DataBlocks) }

// Hash returns the hash of data block i, which must not be changed.
func (t *Tree) Hash(i int64) []byte {
	return t.levels[0][i*hashSize : (i+1)*hashSize : (i+1)*hashSize]
}

// WriteTo implements io.WriterTo: a block with the superblock, then the
// levels from the top down. It belongs behind the data, at a multiple of
// BlockSize, or on a device of its own.
func (t *Tree) WriteTo(w io.Writer) (int64, error) {
	sb := superblock{uuid: t.UUID, salt: t.Salt, dataBlocks: uint64(t.DataBlocks)}
	n, err := w.Write(sb.encode())
	total := int64(n)
	for i := len(levelBlocks(t.DataBlocks)) - 1; i >= 0 && err == nil; i-- {
		n, err = w.Write(t.levels[i])
		total += int64(n)
		if r := len(t.levels[i]) % BlockSize; r != 0 && err == nil {
			n, err = w.Write(make([]byte, BlockSize-r))
			total += int64(n)
		}
	}
	if err != nil {
		return total, fmt.Errorf("writing hash tree at byte %d: %w", total, err)
	}
	return total, nil
}

// ReadTree reads a tree from its superblock on and checks every level up to
// rootHash. The tree must fit in size bytes, which bounds the memory that is
// used, and a level is read only when the one above it is right. Errors that
// are not the reader's wrap ErrCorrupt.
//
// The root hash does not say how many levels are below it, so a forged
// superblock may pass a level of hashes off as data: compare DataBlocks with
// the manifest's.
func ReadTree(r io.ReaderAt, size int64, rootHash []byte) (*Tree, error) {
	if len(rootHash) != hashSize {
		return nil, fmt.Errorf("reading hash tree: root hash of %d bytes; want %d: %w", len(rootHash), hashSize, ErrCorrupt)
	}
	size = max(size, 0)
	b := make([]byte, BlockSize)
	if err := readFull(r, b, 0, size); err != nil {
		return nil, fmt.Errorf("reading verity superblock: %w", err)
	}
	sb, err := decodeSuperblock(b)
	if err != nil {
		return nil, fmt.Errorf("reading verity superblock: %w", err)
	}
	// Leaves alone take 1/128 of the data, so this also keeps sums small.
	if sb.dataBlocks > uint64(size)/hashSize+1 || sb.dataBlocks > math.MaxInt64/BlockSize {
		return nil, fmt.Errorf("reading hash tree: %d data blocks have no tree within %d bytes: %w", sb.dataBlocks, size, ErrCorrupt)
	}
	t := &Tree{
		Params:     Params{sb.salt, sb.uuid},
		DataBlocks: int64(sb.dataBlocks),
		RootHash:   bytes.Clone(rootHash),
	}
	if n := t.Bytes(); n > size {
		return nil, fmt.Errorf("reading hash tree: it has %d bytes; there are %d: %w", n, size, ErrCorrupt)
	}
	if err := t.readLevels(r, size); err != nil {
		return nil, err
	}
	return t, nil
}

// readLevels reads from the top down, so that memory is only spent on blocks
// that a right block points at.
func (t *Tree) readLevels(r io.ReaderAt, size int64) error {
	counts := levelBlocks(t.DataBlocks)
	if len(counts) == 0 {
		t.levels = [][]byte{t.RootHash}
		return nil
	}
	t.levels = make([][]byte, len(counts))
	above, off := t.RootHash, int64(BlockSize)
	for i := len(counts) - 1; i >= 0; i-- {
		blocks := make([]byte, counts[i]*BlockSize)
		if err := readFull(r, blocks, off, size); err != nil {
			return fmt.Errorf("reading hash tree level %d: %w", i, err)
		}
		if bad := mismatch(blocks, above, t.Salt); bad >= 0 {
			return fmt.Errorf("reading hash tree level %d: block %d at byte %d does not match the level above: %w",
				i, bad, off+int64(bad)*BlockSize, ErrCorrupt)
		}
		below := t.DataBlocks
		if i > 0 {
			below = counts[i-1]
		}
		hashes, rest := blocks[:below*hashSize], blocks[below*hashSize:]
		// The root hash does not cover the number of blocks, but zeros begin
		// where the hashes end, and there alone.
		if !isZero(rest) || isZero(hashes[len(hashes)-hashSize:]) {
			return fmt.Errorf("reading hash tree level %d: not the hashes of %d blocks: %w", i, below, ErrCorrupt)
		}
		t.levels[i], above, off = hashes, hashes, off+int64(len(blocks))
	}
	return nil
}

func isZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// mismatch returns the first block whose hash is not the one in want, or -1.
func mismatch(blocks, want, salt []byte) int {
	got := make([]byte, len(blocks)/BlockSize*hashSize)
	hashParallel(got, blocks, salt)
	if bytes.Equal(got, want) {
		return -1
	}
	for i := 0; ; i += hashSize {
		if !bytes.Equal(got[i:i+hashSize], want[i:i+hashSize]) {
			return i / hashSize
		}
	}
}

// readFull reads all of p at off; a reader that ends early is corrupt.
func readFull(r io.ReaderAt, p []byte, off, size int64) error {
	if off+int64(len(p)) > size {
		return fmt.Errorf("ends at byte %d: %w", size, ErrCorrupt)
	}
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == io.EOF:
		return fmt.Errorf("ends at byte %d: %w", off+int64(n), ErrCorrupt)
	}
	return err
}
