package squashfs

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/abupdate/abupdate/internal/paged"
)

// A job is one block or fragment block on its way through the pipeline.
type job struct {
	raw      []byte // what to store, at most BlockSize bytes
	packed   []byte // room for the compressed form
	out      []byte // what goes into the image: raw or packed; empty for a hole
	stored   bool   // out is raw
	fragment bool
	first    bool // first block of a run
	family   uint64
	done     chan struct{}
}

// A run is the blocks of one file, next to each other in the image.
type run struct {
	start  int64  // of the first block that is no hole
	sparse int64  // bytes in holes
	blocks uint32 // place of the first one in pipeline.blocks
}

// A fragment is where a fragment block stands.
type fragment struct {
	start int64
	size  uint32 // as in the table: with storedBlock
}

// storedBlock in the size of a block says that it is not compressed.
const storedBlock = 1 << 24

// A pipeline compresses jobs on some goroutines and writes them on another, in
// the order of submit. There are only so many jobs, which bounds memory and
// makes take wait for the sink.
type pipeline struct {
	opt   Options
	out   *output
	free  chan *job
	work  chan *job // nil while nobody compresses
	queue chan *job

	workers sync.WaitGroup // who compresses
	writer  sync.WaitGroup
	err     atomic.Pointer[error] // the first one of the sink

	// Only the writing goroutine touches these until finish has returned.
	runs      paged.Table[run]
	blocks    paged.Table[uint32] // sizes as in the inodes
	fragments paged.Table[fragment]
	padder    padder
	started   bool // the current run has a block that is no hole
	holes     int64
	dataOut   int64
}

// jobsFor is the number of blocks held at once.
func jobsFor(workers int) int { return 2*workers + 2 }

func startPipeline(opt Options, out *output) (*pipeline, error) {
	n := jobsFor(opt.Workers)
	p := &pipeline{opt: opt, out: out, free: make(chan *job, n), queue: make(chan *job, n)}
	if err := p.startWorkers(); err != nil {
		return nil, err
	}
	for range n {
		p.free <- &job{done: make(chan struct{}, 1)}
	}
	p.writer.Go(p.write)
	return p, nil
}

func (p *pipeline) startWorkers() error {
	compressors := make([]compressor, p.opt.Workers)
	for i := range compressors {
		var err error
		if compressors[i], err = newCompressor(p.opt, p.opt.BlockSize); err != nil {
			return err
		}
	}
	work := make(chan *job, cap(p.free))
	for _, c := range compressors {
		p.workers.Go(func() { p.compress(c, work) })
	}
	p.work = work
	return nil
}

// rest waits for everything submitted and gives back what only packing needs.
// All jobs that were taken must have been submitted.
func (p *pipeline) rest() {
	if p.work == nil {
		return
	}
	jobs := make([]*job, cap(p.free))
	for i := range jobs {
		jobs[i] = <-p.free
	}
	p.stopWorkers()
	for _, j := range jobs {
		j.raw, j.packed, j.out = nil, nil, nil
		p.free <- j
	}
}

func (p *pipeline) stopWorkers() {
	if p.work != nil {
		close(p.work)
		p.workers.Wait()
		p.work = nil
	}
}

// take returns a job with n bytes of room in raw, waiting for one to be free.
func (p *pipeline) take(n int) *job {
	j := <-p.free
	if j.raw == nil {
		j.raw = make([]byte, p.opt.BlockSize)
		if p.opt.Compression != None {
			j.packed = make([]byte, 0, p.opt.BlockSize+p.opt.BlockSize/64+64)
		}
	}
	j.raw, j.fragment, j.first = j.raw[:n], false, false
	return j
}

// submit passes j on; neither channel can be full.
func (p *pipeline) submit(j *job) {
	p.queue <- j
	if p.work == nil {
		if err := p.startWorkers(); err != nil {
			p.err.Store(&err)
			j.done <- struct{}{}
			return
		}
	}
	p.work <- j
}

// finish waits for everything submitted and ends the goroutines.
func (p *pipeline) finish() error {
	p.stopWorkers()
	close(p.queue)
	p.writer.Wait()
	return p.failed()
}

func (p *pipeline) failed() error {
	if err := p.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (p *pipeline) compress(c compressor, work <-chan *job) {
	for j := range work {
		switch {
		case p.failed() != nil:
		case !j.fragment && allZero(j.raw):
			j.out, j.stored = nil, false
		default:
			j.out, j.stored = pack(c, j.packed, j.raw)
		}
		j.done <- struct{}{}
	}
}

func allZero(p []byte) bool {
	for len(p) > alignment {
		if !bytes.Equal(p[:alignment], zeros[:]) {
			return false
		}
		p = p[alignment:]
	}
	return bytes.Equal(p, zeros[:len(p)])
}

func (p *pipeline) write() {
	for j := range p.queue {
		<-j.done
		if p.failed() == nil {
			if err := p.emit(j); err != nil {
				p.err.Store(&err)
			}
		}
		p.free <- j
	}
}

// emit writes the job's block and notes where.
func (p *pipeline) emit(j *job) error {
	if j.fragment {
		start, err := p.put(j, true)
		p.fragments.Add(fragment{start, j.size()})
		return err
	}
	if j.first {
		p.runs.Add(run{blocks: p.blocks.Len()})
		p.started = false
	}
	r := p.runs.At(p.runs.Len() - 1)
	p.blocks.Add(j.size())
	if len(j.out) == 0 {
		r.sparse += int64(len(j.raw))
		p.holes += int64(len(j.raw))
		return nil
	}
	start, err := p.put(j, !p.started)
	if !p.started {
		r.start, p.started = start, true
	}
	return err
}

func (p *pipeline) put(j *job, align bool) (start int64, err error) {
	if align && p.opt.Layout == Aligned && p.padder.pads(p.out.pos, j.family) {
		if err := p.out.pad(); err != nil {
			return 0, err
		}
	}
	start = p.out.pos
	p.dataOut += int64(len(j.out))
	_, err = p.out.Write(j.out)
	return start, err
}

// size is the block's length as the format wants it: 0 for a hole.
func (j *job) size() uint32 {
	size := uint32(len(j.out))
	if j.stored {
		size |= storedBlock
	}
	return size
}
