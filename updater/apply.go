package updater

import (
	"context"
	"errors"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
)

// ApplyOptions says what to write into the inactive slot.
type ApplyOptions struct {
	// Ref is the image or update; "" is Config.Image, else where the running
	// slot came from.
	Ref    string
	Config Config
	Source SourceOptions
	Allow  Allow
	// CheckFirst reads the headers of an ordinary image before anything is
	// written, so that what its files say is checked while the other slot
	// still holds what it held. The layers are then read twice.
	CheckFirst bool
	// Flatten takes an ordinary image itself, though there may be an update
	// made of it beside it.
	Flatten bool
	// StageOnly leaves the slot held: whole, and the next boot what it was.
	// Another Apply of the same image without it, or Switch, switches.
	StageOnly bool
	// Transfer is for updates.
	Transfer TransferOptions
	// DryRun stops when all that can be checked is checked.
	DryRun   bool
	Progress Progress
}

// Applied is what an Apply did, or would do.
type Applied struct {
	Slot    bootctl.Slot `json:"slot"`
	Version string       `json:"version"`
	Image   string       `json:"image"`
	Digest  string       `json:"digest"`
	// UpdateOf is the digest of the image that was asked for, when the update
	// was found beside it.
	UpdateOf   string `json:"update_of,omitempty"`
	RootHash   string `json:"root_hash,omitempty"`
	Kernel     string `json:"kernel,omitempty"`
	ImageBytes int64  `json:"image_bytes,omitempty"`
	KeptBytes  int64  `json:"kept_bytes"` // were in the slot already
	// CopiedBytes of the image were on this device, KeptBytes among them;
	// FetchedBytes came over the line in all, in FetchedRanges requests. Of a
	// dry run: would be copied, would be fetched. Zero for a source that does
	// not know.
	CopiedBytes   int64 `json:"copied_bytes,omitempty"`
	FetchedBytes  int64 `json:"fetched_bytes,omitempty"`
	FetchedRanges int   `json:"fetched_ranges,omitempty"`
	// LocalLayers of an ordinary image were taken from the running slot, and
	// LocalBytes of them, compressed, not fetched.
	LocalLayers int   `json:"local_layers,omitempty"`
	LocalBytes  int64 `json:"local_bytes,omitempty"`
	// Transfer says how an update came: by delta, full as ordered, or as a
	// stream from its start because the server has no ranges.
	Transfer string `json:"transfer,omitempty"`
	// MetadataBytes were fetched beside those: manifests and hash tree.
	MetadataBytes int64 `json:"metadata_bytes,omitempty"`
	DryRun        bool  `json:"dry_run,omitempty"`
	Update        bool  `json:"update"` // made by build; else an ordinary image
	Reused        bool  `json:"reused"` // the slot held all of it, verified
	Held          bool  `json:"held"`   // not switched to
	// Dropped counts the extended attributes that were left out, by name.
	Dropped map[string]int `json:"dropped_xattrs,omitempty"`
	// SignedBy is the trusted key that signed the image, "" when none is
	// trusted.
	SignedBy string `json:"signed_by,omitempty"`
}

// Apply writes an image into the slot that is not running and stages it. When
// it returns nil the next boot tries the new system, unless StageOnly; when it
// returns an error the next boot is what it was before. Killed at any point and called again,
// it finishes.
func (s *System) Apply(ctx context.Context, opt ApplyOptions) (*Applied, error) {
	state, err := s.loadToChange()
	if err != nil {
		return nil, err
	}
	if err := state.CanApply(s.bootedSlot()); err != nil {
		return nil, err
	}
	a := &apply{
		System: s, opt: opt, state: state, slot: state.Inactive(s.bootedSlot()), facts: s.facts(state), vouchers: make(map[*oci.Image]voucher),
	}
	if a.ring, err = s.keyring(); err != nil {
		return nil, err
	}
	img, err := a.resolve(ctx)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	a.img, a.source = img, newSource(img, opt.Source, a.phase)
	defer a.release()
	if err := a.preflight(ctx); err != nil {
		return nil, err
	}
	a.useLocalLayers()
	if opt.DryRun {
		if err := a.survey(ctx); err != nil {
			return nil, err
		}
		if err := a.prepare(ctx); err != nil {
			return nil, err
		}
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
	phase  *phase
	source source
	desc   manifest.Manifest
	kept   int64
	reused bool
	// workDir is for what does not fit in memory.
	workDir string
	// named is the reference that was asked for, updateOf the digest of the
	// image there when the update was found beside it.
	named    oci.Reference
	updateOf string
	// ring is the keys that are trusted, vouchers what was found out with
	// them before the image was chosen.
	ring     Keyring
	vouchers map[*oci.Image]voucher
	voucher  // of the image
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
	a.workDir = a.spoolDir(a.opt)
	opt.SpoolDir = a.workDir
	a.phase = &phase{progress: a.opt.Progress, remote: !ref.Local()}
	opt.Progress = a.phase.report
	img, err := oci.Resolve(ctx, ref, opt)
	if err != nil {
		return nil, err
	}
	a.named = ref
	found, err := a.prebuilt(ctx, img)
	if err != nil {
		return nil, errors.Join(err, img.Close())
	}
	return found, nil
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

// preflight checks what is known before the layers are read.
func (a *apply) preflight(ctx context.Context) error {
	if err := a.checkDigest(a.img.Digest()); err != nil {
		return err
	}
	if err := checkImage(a.facts, a.img); err != nil {
		return err
	}
	if err := a.fits(); err != nil {
		return err
	}
	if err := a.authenticate(ctx); err != nil {
		return err
	}
	var err error
	if a.desc, err = a.source.describe(); err != nil {
		return err
	}
	if err := a.checkDigest(a.desc.SourceDigest); err != nil {
		return err
	}
	if err := checkManifest(a.facts, a.desc, a.opt.Allow); err != nil {
		return err
	}
	return a.fits()
}

// survey checks all that can be checked before anything is written.
func (a *apply) survey(ctx context.Context) (err error) {
	if a.desc, err = a.source.survey(ctx); err != nil {
		return err
	}
	if err := checkManifest(a.facts, a.desc, a.opt.Allow); err != nil {
		return err
	}
	return a.fits()
}

func (a *apply) fits() error {
	sec, err := a.System.slot(a.slot)
	if err != nil {
		return err
	}
	return a.source.fits(a.slot, partitions.Capacity(sec.Size()))
}

func (a *apply) result() *Applied {
	done := &Applied{
		Slot: a.slot, Version: a.desc.Version, Image: a.named.String(), Digest: a.img.Digest(), UpdateOf: a.updateOf,
		RootHash: a.desc.RootHash, Kernel: a.desc.Kernel, ImageBytes: a.desc.ImageBytes, KeptBytes: a.kept,
		DryRun: a.opt.DryRun, Update: a.img.IsUpdate(), Reused: a.reused, Held: a.opt.StageOnly,
		Dropped: a.source.dropped(), SignedBy: a.signer.String(),
	}
	a.transferred(done)
	a.countLocal(done)
	return done
}
