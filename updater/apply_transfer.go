package updater

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater/transfer"
	"github.com/abupdate/abupdate/verity"
)

// TransferOptions says how the blocks of an update get into the slot. The zero
// value copies what the device has and fetches the rest.
type TransferOptions struct {
	Full   bool // other slots are not looked at, for an ordinary image either
	NoFull bool // fail rather than fetch all of an image
	// Gap is how far apart, in bytes, blocks are fetched together: 0 means
	// DefaultGap, less than 0 not at all.
	Gap       int64
	MaxRanges int // 0 means DefaultRanges
	InFlight  int // 0 means transfer.DefaultInFlight
}

// largeImage is from where on, in bytes, memory is given back in between.
const largeImage = 1 << 30

// prepare fetches what is needed to know which blocks an update lacks, and
// plans where they come from. It writes nothing to the slot.
func (a *apply) prepare(ctx context.Context) error {
	s, ok := a.source.(*updateSource)
	if !ok || s.plan != nil {
		return nil
	}
	sec, err := a.System.slot(a.slot)
	if err != nil {
		return err
	}
	a.opt.Progress.Report(StepCompare, 0, 0)
	resume := a.state.Slot(a.slot).Status == bootctl.Writing
	if err := s.loadTree(ctx, sec, resume, a.workDir); err != nil {
		return fmt.Errorf("reading the hash tree of update %s: %w", s.img.Reference(), err)
	}
	target := transfer.Target{Image: sec, Scan: resume}
	var others []transfer.Source
	if !a.opt.Transfer.Full {
		if c, err := a.content(a.slot); err == nil && !resume {
			target.Tree, _ = c.Tree(sec)
		}
		others = a.otherSlots()
	}
	opt := a.transferOptions(s)
	if s.remote, err = s.open(ctx, &opt); err != nil {
		return err
	}
	large := s.desc.ImageBytes >= largeImage
	if large {
		debug.FreeOSMemory() // planning takes most
	}
	if s.plan, err = transfer.New(ctx, s.tree, target, others, opt); err != nil {
		return err
	}
	s.figures = s.plan.Figures()
	if large {
		debug.FreeOSMemory() // and needs no room when blocks are on their way
	}
	if a.opt.Transfer.NoFull && s.figures.Copied+s.figures.Kept == 0 {
		return fault.Errorf(fault.Refused, "nothing of update %s is on this device: all of it would be fetched, which --no-full forbids", s.img.Reference())
	}
	return nil
}

func (a *apply) transferOptions(s *updateSource) transfer.Options {
	opt := transfer.Options{
		Gap:       max(cmp.Or(a.opt.Transfer.Gap, DefaultGap), 0),
		MaxRanges: cmp.Or(a.opt.Transfer.MaxRanges, DefaultRanges), InFlight: a.opt.Transfer.InFlight,
		Near: s.img.Reference().Local(), NoRanges: oci.ErrNoRanges,
		Say: func(note string) { a.opt.Progress.Tell(Event{Step: StepWrite, Note: note}) },
	}
	if !a.opt.Transfer.NoFull {
		opt.Whole = s.blob
	}
	return opt
}

// otherSlots are the images on the disk that nobody writes, the one that runs
// first. What cannot be read is no help, and no harm.
func (a *apply) otherSlots() []transfer.Source {
	slots := []bootctl.Slot{a.facts.slot}
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB, bootctl.SlotRecovery} {
		if slot != a.facts.slot && slot != a.slot {
			slots = append(slots, slot)
		}
	}
	var found []transfer.Source
	for _, slot := range slots {
		sec, err := a.System.slot(slot)
		if err != nil {
			continue
		}
		content, err := a.content(slot)
		if err != nil {
			continue
		}
		if tree, err := content.Tree(sec); err == nil {
			found = append(found, transfer.Source{Name: slot.String(), Image: sec, Tree: tree})
		}
	}
	return found
}

// open finds the squashfs to be read in pieces. Without ranges, it is known
// only now whether the image is at hand.
func (s *updateSource) open(ctx context.Context, opt *transfer.Options) (transfer.Remote, error) {
	r, err := s.img.Ranges(manifest.SquashfsMediaType)
	if errors.Is(err, oci.ErrNoRanges) {
		opt.Near = false
		return noRanges{s.desc.ImageBytes, err}, nil
	}
	if err != nil {
		return nil, err
	}
	if r.Size() != s.desc.ImageBytes {
		return nil, fault.Errorf(fault.Verify, "update %s: %d bytes of squashfs; the manifest says %d", s.img.Reference(), r.Size(), s.desc.ImageBytes)
	}
	if opt.Near {
		rc, err := r.Open(ctx, 0, verity.BlockSize)
		if errors.Is(err, oci.ErrNoRanges) {
			opt.Near = false
			return r, nil
		}
		if err != nil {
			return nil, err
		}
		rc.Close()
	}
	return r, nil
}

// noRanges is an image that is read from its start only.
type noRanges struct {
	size int64
	err  error
}

func (r noRanges) Size() int64 { return r.size }

func (r noRanges) Open(context.Context, int64, int64) (io.ReadCloser, error) { return nil, r.err }

// loadTree finds the hash tree in the slot, if an interrupted apply has left it
// there, or fetches it, and checks it up to the manifest's root hash.
func (s *updateSource) loadTree(ctx context.Context, slot *blockdev.Section, resume bool, dir string) error {
	root, err := s.desc.RootHashBytes()
	if err != nil {
		return err
	}
	if resume {
		if sec, err := blockdev.NewSection(slot, s.desc.HashOffset, s.desc.TreeBytes); err == nil {
			if s.tree, err = verity.ReadTree(sec, s.desc.TreeBytes, root); err == nil {
				return s.checkTree()
			}
		}
	}
	s.hashes = NewHashStore(dir)
	err = s.fetchTree(ctx)
	for oci.Elsewhere(err) {
		err = s.fetchTree(ctx)
	}
	if err != nil {
		return err
	}
	if s.tree, err = verity.ReadTree(s.hashes, s.desc.TreeBytes, root); err != nil {
		return fault.Wrap(fault.Verify, err)
	}
	return s.checkTree()
}

func (s *updateSource) checkTree() error {
	if s.tree.DataBlocks != s.desc.DataBlocks {
		return fault.Errorf(fault.Verify, "it covers %d blocks; the manifest says %d", s.tree.DataBlocks, s.desc.DataBlocks)
	}
	return nil
}

// fetchTree reads the tree into the store; its digest is checked at its end.
func (s *updateSource) fetchTree(ctx context.Context) error {
	r, size, err := s.img.Blob(ctx, manifest.TreeMediaType)
	if err != nil {
		return err
	}
	defer r.Close()
	if size != s.desc.TreeBytes {
		return fault.Errorf(fault.Verify, "%d bytes; the manifest says %d", size, s.desc.TreeBytes)
	}
	n, err := io.Copy(io.NewOffsetWriter(s.hashes, 0), r)
	s.metadata += n
	return err
}

// transferred says where the blocks of an update came from, or would.
func (a *apply) transferred(done *Applied) {
	s, ok := a.source.(*updateSource)
	if !ok {
		return
	}
	done.MetadataBytes = s.metadata
	if s.plan == nil {
		return
	}
	f := s.figures
	switch done.Transfer = "delta"; {
	case f.Whole:
		done.Transfer = "stream"
	case a.opt.Transfer.Full:
		done.Transfer = "full"
	}
	if a.opt.DryRun {
		done.KeptBytes = f.Kept
	}
	done.CopiedBytes, done.FetchedBytes, done.FetchedRanges = f.Copied+f.Kept, f.Fetched, f.Ranges
}

// release gives back what prepare took.
func (a *apply) release() {
	if s, ok := a.source.(*updateSource); ok && s.hashes != nil {
		s.hashes.Close()
	}
}
