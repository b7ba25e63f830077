package squashfs

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/abupdate/abupdate/internal/fstree"
)

// Stats says what a Writer wrote.
type Stats struct {
	Bytes  int64 // length of the image, a multiple of 4096
	Used   int64 // the same without the padding at the end: bytes_used
	Files  int   // regular files, hardlinks not counted
	Inodes int
	Links  int // further names of an inode

	DataIn  int64 // bytes of content given to Add
	DataOut int64 // bytes of blocks and fragment blocks in the image
	Padding int64 // bytes that only align what follows
	Tables  int64 // bytes of inodes, directories and the other tables

	Holes          int64 // bytes of all-zero blocks, which take no room
	Duplicates     int   // files whose content was there already
	DuplicateBytes int64
	Fragments      int
	FragmentBytes  int64 // bytes of content in them, before compression
	ClampedTimes   int   // times before 1970 or after 2106, moved to the nearest
}

// A Writer makes one image. Its methods are for one goroutine; after one has
// returned an error the image cannot be finished, all goroutines have ended
// and every further call returns the same error.
type Writer struct {
	opt      Options
	out      *output
	pipe     *pipeline
	tree     *tree
	ids      ids
	xattrs   xattrs
	contents table[content]
	byTag    map[[16]byte]uint32
	tagger   *tagger
	whole    []byte // a file of up to wholeLimit
	group    group
	runs     uint32
	stats    Stats
	err      error // why nothing more can be done; errClosed after Close
}

var (
	errClosed  = errors.New("writing a squashfs: already closed")
	errAborted = errors.New("writing a squashfs: aborted")
)

// NewWriter returns a Writer that sends an image to sink. Close or Abort ends
// its goroutines.
func NewWriter(sink Sink, opt Options) (*Writer, error) {
	opt = opt.withDefaults()
	if err := opt.validate(); err != nil {
		return nil, err
	}
	w := &Writer{opt: opt, out: newOutput(sink), byTag: make(map[[16]byte]uint32)}
	var err error
	if w.tagger, err = newTagger(); err != nil {
		return nil, err
	}
	implicit, err := w.implicit()
	if err != nil {
		return nil, err
	}
	w.tree = newTree(implicit)
	if w.pipe, err = startPipeline(opt, w.out); err != nil {
		return nil, err
	}
	return w, nil
}

// Add puts one object into the image. Each path comes once; directories may
// come after what they hold, and those that never come get mode 0755 of root.
// The root itself is the Directory with the empty path. content must hold
// exactly e.Size bytes for a regular file, may be nil for an empty one and is
// not touched for other types. A hardlink may come before the entry whose
// path its Linkname is; what else it says of mode, owner or xattrs is ignored.
func (w *Writer) Add(e fstree.Entry, content io.Reader) error {
	if w.err != nil {
		return w.err
	}
	if err := w.add(e, content); err != nil {
		if sinkErr := w.pipe.failed(); sinkErr != nil {
			return w.fail(sinkErr)
		}
		return w.fail(fmt.Errorf("adding %q: %w", e.Path, err))
	}
	if err := w.pipe.failed(); err != nil {
		return w.fail(err)
	}
	return nil
}

// Abort ends the Writer without finishing the image. After Close it does
// nothing, so that it can be deferred.
func (w *Writer) Abort() {
	if w.err == nil {
		w.fail(errAborted)
	}
}

// fail ends the goroutines and makes err the answer from now on.
func (w *Writer) fail(err error) error {
	w.err = err
	w.pipe.finish()
	w.release()
	return err
}

// release lets go of everything that takes room.
func (w *Writer) release() {
	*w = Writer{err: w.err, stats: w.stats}
}

func (w *Writer) add(e fstree.Entry, content io.Reader) error {
	n := node{typ: e.Type, mode: e.Mode & 0o7777, mtime: w.mtime(e.ModTime), nlink: 1, xattr: none, data: none}
	implicit, err := w.implicit()
	if err != nil {
		return err
	}
	if e.Type != fstree.Hardlink {
		if n.uid, n.gid, err = w.ids.both(e.UID, e.GID); err != nil {
			return err
		}
		if n.xattr, err = w.xattrs.add(e.Xattrs); err != nil {
			return err
		}
	}
	if err := w.typed(e, &n); err != nil {
		return err
	}
	i, err := w.tree.put(e.Path, n, implicit)
	if err != nil || e.Type != fstree.Regular {
		return err
	}
	data, err := w.addContent(e.Path, e.Size, content)
	w.tree.at(i).data = data
	return err
}

// typed fills in what depends on the type.
func (w *Writer) typed(e fstree.Entry, n *node) error {
	switch e.Type {
	case fstree.Regular, fstree.FIFO, fstree.Socket:
	case fstree.Directory:
		n.nlink = 2
	case fstree.CharDevice, fstree.BlockDevice:
		if e.Major >= 1<<12 || e.Minor >= 1<<20 {
			return fmt.Errorf("device number %d:%d is larger than 12 and 20 bits", e.Major, e.Minor)
		}
		n.data = e.Minor&0xff | e.Major<<8 | e.Minor&^0xff<<12 // the kernel's new_encode_dev
	case fstree.Symlink:
		if e.Linkname == "" || len(e.Linkname) > maxTarget {
			return fmt.Errorf("symlink target of %d bytes, not of 1 to %d", len(e.Linkname), maxTarget)
		}
		return w.keepText(e.Linkname, n)
	case fstree.Hardlink:
		if len(e.Linkname) >= arenaPage {
			return fmt.Errorf("hardlink to a path of %d bytes", len(e.Linkname))
		}
		return w.keepText(e.Linkname, n)
	default:
		return fmt.Errorf("unknown %v", e.Type)
	}
	return nil
}

// maxTarget is PATH_MAX without the zero byte; the kernel refuses more than a page.
const maxTarget = 4095

func (w *Writer) keepText(s string, n *node) error {
	ref, ok := w.tree.strings.add(s)
	if !ok {
		return errNames
	}
	n.data, n.dataLen = ref, uint16(len(s))
	return nil
}

// implicit is the node of a directory that nobody describes.
func (w *Writer) implicit() (node, error) {
	uid, gid, err := w.ids.both(0, 0)
	return node{typ: fstree.Directory, mode: 0o755, uid: uid, gid: gid, mtime: clampTime(w.opt.ModTime),
		nlink: 2, xattr: none, data: none, implicit: true}, err
}

func (w *Writer) mtime(t int64) uint32 {
	u := clampTime(t)
	if int64(u) != t {
		w.stats.ClampedTimes++
	}
	return u
}

// clampTime moves t into the format's unsigned 32 bits: 1970 to 2106.
func clampTime(t int64) uint32 {
	return uint32(min(max(t, 0), math.MaxUint32))
}
