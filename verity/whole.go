package verity

import (
	"fmt"
	"io"
	"runtime"
	"sync"
)

// buildChunk is how much one goroutine of Build reads and hashes at a time.
const buildChunk = 256 << 10

// Build makes the tree of an image of size bytes that r gives in its natural
// order. It hashes on all processors and keeps the hashes in memory.
func Build(r io.Reader, size int64, p Params) (*Tree, error) {
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("hashing: %w", err)
	}
	if size <= 0 || size%BlockSize != 0 {
		return nil, fmt.Errorf("hashing: image of %d bytes is not a number of blocks", size)
	}
	w := &whole{r: r, size: size, salt: p.Salt, hashes: make([]byte, size/BlockSize*hashSize)}
	w.readAnywhere()
	var wg sync.WaitGroup
	for range min(int64(runtime.GOMAXPROCS(0)), (size-1)/buildChunk+1) {
		wg.Go(w.run)
	}
	wg.Wait()
	if w.err != nil {
		return nil, w.err
	}
	l := &low{mem: w.hashes, size: int64(len(w.hashes))}
	if l.size > hashSize {
		l.above = hashLevel(l.mem, p.Salt)
	}
	return newTree(p, l), nil
}

// whole is a Build under way.
type whole struct {
	r      io.Reader
	at     io.ReaderAt // r, if it can be read by several at a time
	start  int64       // of the image in at
	size   int64
	salt   []byte
	hashes []byte

	mu    sync.Mutex // of reading in order
	off   int64      // of what is read next
	err   error      // the first one in the image
	errAt int64
}

// readAnywhere finds out whether the image can be read by all goroutines at a
// time: then none waits for another one's read.
func (w *whole) readAnywhere() {
	r, ok := w.r.(interface {
		io.ReaderAt
		io.Seeker
	})
	if !ok {
		return
	}
	start, err := r.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = r.Seek(start+w.size, io.SeekStart)
	}
	if err == nil { // no pipe
		w.at, w.start = r, start
	}
}

func (w *whole) run() {
	buf := make([]byte, min(buildChunk, w.size))
	for {
		off, n := w.next(buf)
		if n == 0 {
			return
		}
		hashBlocks(w.hashes[off/BlockSize*hashSize:], buf[:n], w.salt)
	}
}

// next reads the next chunk and returns where it stands; 0 bytes at the end.
func (w *whole) next(buf []byte) (off int64, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	off, buf = w.off, buf[:min(int64(len(buf)), w.size-w.off)]
	if w.err != nil || len(buf) == 0 {
		return 0, 0
	}
	var err error
	if w.at != nil {
		w.off += int64(len(buf))
		w.mu.Unlock()
		n, err = w.at.ReadAt(buf, w.start+off)
		if n == len(buf) {
			err = nil
		}
		w.mu.Lock()
	} else {
		n, err = io.ReadFull(w.r, buf)
		w.off += int64(n)
	}
	end := off + int64(n)
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		err = fmt.Errorf("hashing: image ends at byte %d of %d: %w", end, w.size, io.ErrUnexpectedEOF)
	case err != nil:
		err = fmt.Errorf("hashing: reading at byte %d: %w", end, err)
	default:
		return off, n
	}
	if w.err == nil || end < w.errAt {
		w.err, w.errAt = err, end
	}
	return 0, 0
}
