// Package install makes bootable disks out of images: slot A, recovery, the
// selector on the ESP, and a boot state that says slot A is good. The image
// streams into its slot; nothing is unpacked and nothing needs privileges.
package install

import (
	"context"
	"errors"
	"fmt"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

// Options says what to install, and how the disk is laid out.
type Options struct {
	Ref string
	// Size is that of a disk image; 0 is the smallest that holds the layout.
	Size disk.Size
	// SlotSize and Layout (a TOML file) replace the default layout.
	SlotSize disk.Size
	Layout   string
	// Recovery says what the recovery slot holds: "same" (or "") is the
	// image, "none" is no recovery slot, all else is the reference of
	// another image.
	Recovery  string
	BothSlots bool // slot B gets the image too
	Boot      BootOptions
	// SignKeys sign the manifests of the slots that are filled, for an
	// initramfs that has keys.
	SignKeys []*keys.Private

	Source   updater.SourceOptions
	Progress updater.Progress
}

// Values of Options.Recovery.
const (
	RecoverySame = "same"
	RecoveryNone = "none"
)

// ownRecovery says whether the recovery slot gets an image of its own.
func (opt Options) ownRecovery() bool {
	return opt.Recovery != "" && opt.Recovery != RecoverySame && opt.Recovery != RecoveryNone
}

// Installed tells what was made.
type Installed struct {
	Disk      string         `json:"disk"`
	DiskBytes int64          `json:"disk_bytes"`
	DiskGUID  string         `json:"disk_guid"`
	SlotBytes int64          `json:"slot_bytes"`
	Slots     []bootctl.Slot `json:"slots"` // that hold a system
	manifest.Manifest
	Cmdline        string         `json:"cmdline"`
	InitramfsBytes int64          `json:"initramfs_bytes"`
	LoaderBytes    int64          `json:"loader_bytes,omitempty"`
	BootDir        string         `json:"boot_dir,omitempty"`
	Dropped        map[string]int `json:"dropped_xattrs,omitempty"`
	// Trusted are the IDs of the keys in the initramfs.
	Trusted []string `json:"trusted,omitempty"`
}

// installer is one running installation.
type installer struct {
	opt    Options
	tools  tools
	source *updater.Image // nil for an update
	update *prepared      // nil for an image
	image  *oci.Image     // either
	layout layout
	disk   *partitions.Disk
	made   *compose.Result // of slot A, once its image is on the disk
	result *Installed
}

// onto makes the disk. Slots come first and the selector last: an
// installation that was cut short does not boot.
func (in *installer) onto(ctx context.Context, dev blockdev.Device) error {
	opt := disk.Options{Arch: in.image.Architecture()}
	if in.made != nil {
		opt.Image = in.made.Manifest.ImageBytes
	}
	var err error
	if in.disk, err = disk.Create(dev, in.layout.Layout, opt); err != nil {
		return err
	}
	if err := in.slotA(ctx); err != nil {
		return err
	}
	r := in.result
	r.Manifest, r.Slots = in.made.Manifest, []bootctl.Slot{bootctl.SlotA}
	if in.made.Plan != nil {
		r.Dropped = in.made.Plan.Dropped
	}
	r.DiskBytes, r.DiskGUID, r.SlotBytes = dev.Size(), in.disk.GUID(), int64(in.layout.Slot)
	boot, err := in.bootFiles()
	if err != nil {
		return err
	}
	if err := in.others(ctx); err != nil {
		return err
	}
	if err := in.state(in.made.Manifest); err != nil {
		return err
	}
	if err := in.writeBoot(boot); err != nil {
		return err
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("syncing the disk: %w", err)
	}
	return nil
}

// others fills slot B and recovery as far as that is asked for.
func (in *installer) others(ctx context.Context) error {
	if in.opt.BothSlots {
		if err := in.copySlot(ctx, bootctl.SlotB); err != nil {
			return fmt.Errorf("copying slot a to b: %w", err)
		}
	}
	if in.layout.Recovery == 0 {
		return nil
	}
	if !in.opt.ownRecovery() {
		if err := in.copySlot(ctx, bootctl.SlotRecovery); err != nil {
			return fmt.Errorf("copying slot a to recovery: %w", err)
		}
		return nil
	}
	return in.golden(ctx)
}

// state writes a boot state in which what was installed is good.
func (in *installer) state(m manifest.Manifest) error {
	info := bootctl.SlotInfo{Version: m.Version, Digest: m.SourceDigest, RootHash: m.RootHash, Image: updater.Origin(in.image.Reference())}
	if in.update != nil {
		info.Digest = in.image.Digest() // as apply has it
	}
	state := bootctl.New().Install(bootctl.SlotA, info)
	if in.opt.BothSlots {
		state = state.Install(bootctl.SlotB, info)
	}
	sec, err := in.disk.State()
	if err != nil {
		return err
	}
	if err := bootctl.Format(sec, state); err != nil {
		return fmt.Errorf("writing the boot state: %w", err)
	}
	return nil
}

// start finds the image and checks what is known before a disk is touched.
func start(ctx context.Context, opt Options) (*installer, error) {
	in := &installer{opt: opt, result: &Installed{}}
	var err error
	if in.layout, err = opt.plan(); err != nil {
		return nil, err
	}
	var update *updater.Update
	if in.source, update, err = updater.OpenAny(ctx, opt.Ref, opt.Source, opt.Progress); err != nil {
		return nil, err
	}
	if in.source != nil {
		in.image = in.source.Image
	} else {
		in.image = update.Image
	}
	if err := in.check(ctx, update); err != nil {
		return nil, errors.Join(err, in.image.Close())
	}
	return in, nil
}

// check looks at everything that a disk takes, and decides what is known of
// its layout.
func (in *installer) check(ctx context.Context, update *updater.Update) (err error) {
	if in.tools, err = findTools(in.opt.Boot, in.image.Architecture()); err != nil {
		return err
	}
	for _, k := range in.tools.trust.keys {
		in.result.Trusted = append(in.result.Trusted, k.ID)
	}
	if update == nil {
		return in.tools.trust.check(in.opt.Boot, in.opt.SignKeys)
	}
	if len(in.opt.SignKeys) > 0 && !in.opt.ownRecovery() {
		return fault.Errorf(fault.Usage, "%v is an update: it has the signatures that it has (abupdate sign adds more)", in.image.Reference())
	}
	if in.update, err = in.prepare(ctx, update); err != nil {
		return err
	}
	if err := in.layout.sizeFor(update.Manifest.ImageBytes, in.opt.Size); err != nil {
		return err
	}
	return in.layout.holds(update.Manifest.ImageBytes, in.opt.ownRecovery())
}
