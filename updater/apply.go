package updater

import (
	"context"
	"errors"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/verity"
)

// ApplyOptions says what to write into the inactive slot.
type ApplyOptions struct {
	// Ref is the image or update; "" is Config.Image, else where the running
	// slot came from.
	Ref    string
	Config Config
	Source SourceOptions
	Allow  Allow
	// DryRun stops after the preflight.
	DryRun   bool
	Progress Progress
}

// Applied is what an Apply did, or would do.
type Applied struct {
	Slot         bootctl.Slot `json:"slot"`
	Version      string       `json:"version"`
	Image        string       `json:"image"`
	Digest       string       `json:"digest"`
	RootHash     string       `json:"root_hash,omitempty"`
	Kernel       string       `json:"kernel,omitempty"`
	ImageBytes   int64        `json:"image_bytes,omitempty"`
	KeptBytes    int64        `json:"kept_bytes"` // were in the slot already
	DryRun       bool         `json:"dry_run,omitempty"`
	Update       bool         `json:"update"` // made by build; else an ordinary image
	Reused       bool         `json:"reused"` // the slot held all of it, verified
	DroppedAttrs []string     `json:"dropped_xattrs,omitempty"`
}

// Apply writes an image into the slot that is not running and stages it. When
// it returns nil the next boot tries the new system; when it returns an error
// the next boot is what it was before. Killed at any point and called again,
// it finishes.
func (s *System) Apply(ctx context.Context, opt ApplyOptions) (*Applied, error) {
	state, err := s.load()
	if err != nil {
		return nil, err
	}
	if err := state.CanApply(s.bootedSlot()); err != nil {
		return nil, err
	}
	a := &apply{System: s, opt: opt, state: state, slot: state.Inactive(s.bootedSlot()), facts: s.facts(state)}
	img, err := a.resolve(ctx)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	a.img, a.source = img, newSource(img, opt.Source, opt.Progress)
	if err := a.preflight(ctx); err != nil {
		return nil, err
	}
	if opt.DryRun {
		return a.result(), nil
	}
	if err := a.run(ctx); err != nil {
		return nil, err
	}
	return a.result(), nil
}

// apply is one running Apply.
type apply struct {
	*System
	opt    ApplyOptions
	facts  facts
	state  bootctl.State
	slot   bootctl.Slot // to write
	img    *oci.Image
	source source
	desc   manifest.Manifest
	kept   int64
	reused bool
}

// resolve finds the image.
func (a *apply) resolve(ctx context.Context) (*oci.Image, error) {
	name, err := a.reference()
	if err != nil {
		return nil, err
	}
	ref, err := oci.ParseReference(name)
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err)
	}
	a.opt.Progress.Report(StepResolve, 0, 0)
	opt := a.opt.Source.Registry
	if opt.Platform == "" {
		opt.Platform = "linux/" + a.facts.architecture
	}
	opt.Insecure = opt.Insecure || a.opt.Config.Insecure
	if opt.SpoolDir == "" {
		opt.SpoolDir = a.opt.Config.SpoolDir
	}
	opt.Progress = registryProgress(a.opt.Progress)
	return oci.Resolve(ctx, ref, opt)
}

func (a *apply) reference() (string, error) {
	switch {
	case a.opt.Ref != "":
		return a.opt.Ref, nil
	case a.opt.Config.Image != "":
		return a.opt.Config.Image, nil
	case a.facts.slot.IsRoot() && a.state.Slot(a.facts.slot).Image != "":
		return a.state.Slot(a.facts.slot).Image, nil
	}
	return "", fault.Errorf(fault.Usage, "no image given, none in %s, and slot %v does not say where it came from", ConfigDir, a.facts.slot)
}

// preflight checks all that can be checked before anything is written.
func (a *apply) preflight(ctx context.Context) error {
	if err := checkDigests(a.state, a.facts, a.slot, a.opt.Allow, a.img.Digest()); err != nil {
		return err
	}
	if err := checkImage(a.facts, a.img); err != nil {
		return err
	}
	sec, err := a.System.slot(a.slot)
	if err != nil {
		return err
	}
	capacity := partitions.Capacity(sec.Size())
	if err := a.source.fits(a.slot, capacity); err != nil {
		return err
	}
	if a.desc, err = a.source.describe(ctx); err != nil {
		return err
	}
	if err := checkDigests(a.state, a.facts, a.slot, a.opt.Allow, a.desc.SourceDigest); err != nil {
		return err
	}
	if err := checkManifest(a.facts, a.desc, a.opt.Allow); err != nil {
		return err
	}
	return a.source.fits(a.slot, capacity)
}

// run takes the slot, writes it and stages it, in the order of
// docs/crash-safety.md.
func (a *apply) run(ctx context.Context) error {
	release, err := a.claim(a.slot)
	if err != nil {
		return err
	}
	defer release()
	if a.reusable(ctx) {
		a.reused, a.kept = true, a.desc.ImageBytes
		return a.stage()
	}
	resume := a.state.Slot(a.slot).Status == bootctl.Writing
	if a.state, err = a.state.BeginWrite(a.slot); err != nil {
		return err
	}
	if err := a.save(a.state); err != nil {
		return err
	}
	if err := a.write(ctx, resume); err != nil {
		return errors.Join(err, a.giveUp(ctx, err))
	}
	return a.stage()
}

// write fills the slot and makes it whole.
func (a *apply) write(ctx context.Context, resume bool) error {
	sec, err := a.System.slot(a.slot)
	if err != nil {
		return err
	}
	keep := &keeper{Device: sec, compare: resume}
	w := partitions.NewSlotWriter(keep)
	if err := w.Begin(); err != nil {
		return err
	}
	done, err := a.source.fill(ctx, target{SlotWriter: w, dev: sec, resume: resume}, a.opt.Progress)
	if err != nil {
		return err
	}
	a.desc, a.kept = done.manifest, keep.kept
	err = w.ReadBack(ctx, done.tree.RootHash, func(n int64) { a.opt.Progress.Report(StepReadBack, n, done.manifest.ImageBytes) })
	if err != nil {
		return err
	}
	a.opt.Progress.Report(StepCommit, 0, 0)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return w.Commit(done.raw, nil)
}

// giveUp makes the slot empty after an error, unless the rest may come later:
// then it stays as it is, being written, and the next Apply goes on there.
func (a *apply) giveUp(ctx context.Context, cause error) error {
	if ctx.Err() != nil || fault.KindOf(cause) == fault.Network {
		return nil
	}
	a.state = a.state.AbortWrite(a.slot, cause.Error())
	return a.save(a.state)
}

// stage saves what makes the slot boot: the commit point.
func (a *apply) stage() error {
	a.state = a.state.Stage(a.slot, bootctl.SlotInfo{
		Version: a.desc.Version, Digest: a.img.Digest(), RootHash: a.desc.RootHash, Image: Origin(a.img.Reference()),
	})
	return a.save(a.state)
}

// reusable says whether the slot holds this very image from before, whole and
// allowed to boot: after a rollback it needs no second download.
func (a *apply) reusable(ctx context.Context) bool {
	old := a.state.Slot(a.slot)
	if old.Status != bootctl.Good && old.Status != bootctl.Bad && old.Status != bootctl.Pending {
		return false
	}
	// An ordinary image has no root hash before it is packed; the same
	// encoder makes the same of it.
	if old.Digest != a.img.Digest() && (a.desc.RootHash == "" || old.RootHash != a.desc.RootHash) {
		return false
	}
	content, err := a.content(a.slot)
	if err != nil || content.Manifest.RootHash != old.RootHash {
		return false
	}
	if a.desc.RootHash != "" && a.desc.RootHash != old.RootHash ||
		a.desc.Encoder != content.Manifest.Encoder || a.desc.Version != content.Manifest.Version {
		return false
	}
	if err := a.verifyContent(ctx, a.slot, content, a.opt.Progress); err != nil {
		return false
	}
	a.desc = *content.Manifest
	return true
}

func (a *apply) result() *Applied {
	return &Applied{
		Slot: a.slot, Version: a.desc.Version, Image: a.img.Reference().String(), Digest: a.img.Digest(),
		RootHash: a.desc.RootHash, Kernel: a.desc.Kernel, ImageBytes: a.desc.ImageBytes, KeptBytes: a.kept,
		DryRun: a.opt.DryRun, Update: a.img.IsUpdate(), Reused: a.reused,
	}
}

// A target is the slot that a source fills.
type target struct {
	*partitions.SlotWriter
	dev interface {
		ReadAt(p []byte, off int64) (int, error)
	}
	// resume says that blocks of this image may be there from before.
	resume bool
}

// local fills p from the slot if all of its blocks, from number i on, match
// the tree.
func (t target) local(tree *verity.Tree, i int64, p []byte) bool {
	if !t.resume {
		return false
	}
	if n, _ := t.dev.ReadAt(p, i*verity.BlockSize); n < len(p) {
		return false
	}
	return verifyBlocks(tree, i, p) == nil
}
