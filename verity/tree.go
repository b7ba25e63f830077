package verity

import (
	"bytes"
	"fmt"
	"io"
	"math"
)

// A Tree is the hash tree of an image, whole and consistent. In memory are the
// levels above the lowest, 1/16384 of the image; the lowest is either in memory
// too, 32 bytes per block of data, or is read, and checked, when it is needed.
type Tree struct {
	Params
	DataBlocks int64
	RootHash   []byte
	low        *low
	// upper holds the hashes of each level above the lowest without padding,
	// the last one those that the top hash block holds.
	// An image of one block has no hash blocks: its hash is the root hash.
	upper [][]byte
}

func newTree(p Params, l *low) *Tree {
	t := &Tree{Params: p, DataBlocks: l.size / hashSize, low: l, RootHash: l.mem}
	if t.DataBlocks == 1 {
		return t
	}
	for t.RootHash = l.above; len(t.RootHash) > hashSize; {
		t.upper = append(t.upper, t.RootHash)
		t.RootHash = hashLevel(t.RootHash, p.Salt)
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

// Hashes fills p, whose length is a multiple of 32, with the hashes of the data
// blocks from number first on. Where they are read, errors that are not the
// reader's wrap ErrCorrupt.
func (t *Tree) Hashes(p []byte, first int64) error {
	if first < 0 || len(p)%hashSize != 0 || first+int64(len(p)/hashSize) > t.DataBlocks {
		return fmt.Errorf("hashes of %d blocks from %d on, of %d: %w", len(p)/hashSize, first, t.DataBlocks, ErrCorrupt)
	}
	return t.low.copyTo(p, first*hashSize)
}

// WriteTo implements io.WriterTo: a block with the superblock, then the
// levels from the top down. It belongs behind the data, at a multiple of
// BlockSize, or on a device of its own.
func (t *Tree) WriteTo(w io.Writer) (int64, error) {
	sb := superblock{uuid: t.UUID, salt: t.Salt, dataBlocks: uint64(t.DataBlocks)}
	n, err := w.Write(sb.encode())
	total := int64(n)
	for i := len(t.upper) - 1; i >= 0 && err == nil; i-- {
		n, err = writePadded(w, t.upper[i])
		total += int64(n)
	}
	if t.DataBlocks > 1 {
		buf := make([]byte, min(lowChunk, t.low.size))
		for off := int64(0); off < t.low.size && err == nil; off += int64(len(buf)) {
			buf = buf[:min(int64(len(buf)), t.low.size-off)]
			if err = t.low.copyTo(buf, off); err == nil {
				n, err = writePadded(w, buf)
				total += int64(n)
			}
		}
	}
	if err != nil {
		return total, fmt.Errorf("writing hash tree at byte %d: %w", total, err)
	}
	return total, nil
}

// writePadded writes p and zeros up to a whole block.
func writePadded(w io.Writer, p []byte) (int, error) {
	n, err := w.Write(p)
	if r := len(p) % BlockSize; r != 0 && err == nil {
		var m int
		m, err = w.Write(make([]byte, BlockSize-r))
		n += m
	}
	return n, err
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
// that a right block points at. The lowest level is read and let go.
func (t *Tree) readLevels(r io.ReaderAt, size int64) error {
	counts := levelBlocks(t.DataBlocks)
	if len(counts) == 0 {
		t.low = &low{mem: t.RootHash, size: hashSize}
		return nil
	}
	t.upper = make([][]byte, len(counts)-1)
	above, off := t.RootHash, int64(BlockSize)
	for i := len(counts) - 1; i > 0; i-- {
		blocks := make([]byte, counts[i]*BlockSize)
		if err := readLevel(r, blocks, above, t.Salt, i, 0, off, size); err != nil {
			return err
		}
		hashes := blocks[:counts[i-1]*hashSize]
		if !endsRight(hashes, blocks[len(hashes):]) {
			return fmt.Errorf("reading hash tree level %d: not the hashes of %d blocks: %w", i, counts[i-1], ErrCorrupt)
		}
		t.upper[i-1], above, off = hashes, hashes, off+int64(len(blocks))
	}
	t.low = &low{r: r, off: off, size: t.DataBlocks * hashSize, above: above, salt: t.Salt}
	return t.readLowest(counts[0], size)
}

// readLowest reads the lowest level, of so many blocks, a chunk at a time.
func (t *Tree) readLowest(blocks, size int64) error {
	l := t.low
	buf := make([]byte, min(lowChunk, blocks*BlockSize))
	for at := int64(0); at < blocks*BlockSize; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), blocks*BlockSize-at)]
		first := at / BlockSize
		above := l.above[first*hashSize:][:len(buf)/BlockSize*hashSize]
		if err := readLevel(l.r, buf, above, t.Salt, 0, first, l.off+at, size); err != nil {
			return err
		}
		if rest := l.size - at; rest <= int64(len(buf)) && !endsRight(buf[:rest], buf[rest:]) {
			return fmt.Errorf("reading hash tree level 0: not the hashes of %d blocks: %w", t.DataBlocks, ErrCorrupt)
		}
	}
	return nil
}

// readLevel fills blocks with those of a level from number first on, which
// stand at off, and compares them with their hashes.
func readLevel(r io.ReaderAt, blocks, above, salt []byte, level int, first, off, size int64) error {
	if err := readFull(r, blocks, off, size); err != nil {
		return fmt.Errorf("reading hash tree level %d: %w", level, err)
	}
	if bad := int64(mismatch(blocks, above, salt)); bad >= 0 {
		return fmt.Errorf("reading hash tree level %d: block %d at byte %d does not match the level above: %w",
			level, first+bad, off+bad*BlockSize, ErrCorrupt)
	}
	return nil
}

// endsRight says whether a level's hashes end where its number of blocks says.
// The root hash does not cover that number, but zeros begin where the hashes
// end, and there alone.
func endsRight(hashes, rest []byte) bool {
	return isZero(rest) && !isZero(hashes[len(hashes)-hashSize:])
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
