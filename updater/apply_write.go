package updater

import (
	"context"
	"errors"
	"fmt"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
)

// run takes the slot, writes it and stages it, in the order of
// docs/crash-safety.md.
func (a *apply) run(ctx context.Context) error {
	release, err := a.claim(a.slot)
	if err != nil {
		return err
	}
	defer release()
	if a.reusable(ctx) {
		if err := checkManifest(a.facts, a.desc, a.opt.Allow); err != nil {
			return err
		}
		a.reused, a.kept = true, a.desc.ImageBytes
		return a.stage()
	}
	if a.opt.CheckFirst {
		if err := a.survey(ctx); err != nil {
			return err
		}
	}
	if err := a.prepare(ctx); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil { // what the slot holds may be wanted yet
		return err
	}
	resume := a.state.Slot(a.slot).Status == bootctl.Writing
	if a.state, err = a.state.BeginWrite(a.slot); err != nil {
		return err
	}
	if err := a.save(a.state); err != nil {
		return err
	}
	err = a.write(ctx, resume)
	for oci.Elsewhere(err) { // a layer, which is known to be wrong when it is in the slot
		a.again()
		err = a.write(ctx, true)
	}
	if err != nil {
		return a.giveUp(ctx, err)
	}
	return a.stage()
}

// again makes the source ready to be read from its start.
func (a *apply) again() {
	a.source = newSource(a.img, a.opt.Source, a.phase)
	a.source.signedBy(a.signer)
	a.useLocalLayers()
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
	done, err := a.source.fill(ctx, target{w, keep}, a.opt.Progress)
	if err != nil {
		return err
	}
	a.desc, a.kept = done.manifest, done.kept
	if !done.placed {
		a.kept = min(keep.kept, done.manifest.ImageBytes)
	}
	// What an ordinary image's files say is known only now.
	if err := checkManifest(a.facts, a.desc, a.opt.Allow); err != nil {
		return err
	}
	if !done.placed {
		if err := w.WriteTree(done.tree); err != nil {
			return err
		}
	}
	err = w.ReadBack(ctx, done.tree.RootHash, func(n int64) { a.opt.Progress.Report(StepReadBack, n, done.manifest.ImageBytes) })
	if err != nil {
		return err
	}
	a.opt.Progress.Report(StepCommit, 0, 0)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	w.Attach(done.layers)
	return w.Commit(done.raw, a.envelope)
}

// giveUp makes the slot empty after an error, unless the rest may come later:
// then it stays as it is, being written, and the next Apply goes on there. It
// returns the error to report. Of an update only right blocks are written, so
// that it is the slot alone that can spoil it.
func (a *apply) giveUp(ctx context.Context, cause error) error {
	var good *unfinished
	if ctx.Err() != nil || fault.KindOf(cause) == fault.Network || errors.As(cause, &good) {
		return cause
	}
	a.state = a.state.AbortWrite(a.slot, cause.Error())
	if err := a.save(a.state); err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w; slot %v is empty now, the system that runs is as it was", cause, a.slot)
}

// stage saves what makes the slot boot: the commit point. With StageOnly the
// slot is held instead.
func (a *apply) stage() error {
	info := bootctl.SlotInfo{
		Version: a.desc.Version, Digest: a.img.Digest(), RootHash: a.desc.RootHash, Image: Origin(a.named),
		Downgrade: a.opt.Allow.Downgrade && a.state.BelowFloor(a.desc.Version),
	}
	if a.opt.StageOnly {
		a.state = a.state.Hold(a.slot, info)
	} else {
		a.state = a.state.Stage(a.slot, info)
	}
	return a.save(a.state)
}

// reusable says whether the slot holds this very image from before, whole and
// allowed to boot: after a rollback it needs no second download.
func (a *apply) reusable(ctx context.Context) bool {
	old := a.state.Slot(a.slot)
	switch old.Status {
	case bootctl.Good, bootctl.Bad, bootctl.Pending, bootctl.Held:
	default:
		return false
	}
	// An ordinary image has no root hash before it is packed; the same
	// encoder makes the same of it. Its version may be known to its files
	// only: then those in the slot have said it already.
	if old.Digest != a.img.Digest() && (a.desc.RootHash == "" || old.RootHash != a.desc.RootHash) {
		return false
	}
	content, err := a.content(a.slot)
	if err != nil || content.Manifest.RootHash != old.RootHash || !a.vouched(content) {
		return false
	}
	if a.desc.RootHash != "" && a.desc.RootHash != old.RootHash || a.desc.Encoder != content.Manifest.Encoder ||
		a.desc.Version != "" && a.desc.Version != content.Manifest.Version {
		return false
	}
	if err := a.verifyContent(ctx, a.slot, content, a.opt.Progress); err != nil {
		return false
	}
	a.desc = *content.Manifest
	return true
}

// A target is the slot that a source fills.
type target struct {
	*partitions.SlotWriter
	keep *keeper // below it
}
