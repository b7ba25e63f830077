package updater

import (
	"fmt"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
)

// Allow lists what an Apply may do though it would refuse.
type Allow struct {
	Downgrade bool // a version lower than the running one, or than the floor
	Denied    bool // an image that fell back on this device
	Same      bool // the image that runs already
}

// checkDigest refuses what is there already and what failed here. More than
// one digest may name an update: its own and that of the image it was built
// from.
func (a *apply) checkDigest(digest string) error {
	if digest == "" {
		return nil
	}
	if where := a.where(digest); where != "" {
		return fault.Errorf(fault.Nothing, "nothing to do: %s is %s", digest, where)
	}
	if a.state.IsDenied(digest) && !a.opt.Allow.Denied {
		return fault.Errorf(fault.Refused, "image %s failed on this device before (--allow-denied tries it again)", digest)
	}
	return nil
}

// where says in which slot an image or update stands already, so that nothing
// is to be done; else it is "". What waits in the other slot counts only when
// the keys that are known now vouch for it.
func (a *apply) where(digest string) string {
	if a.opt.Allow.Same {
		return ""
	}
	if slot := a.facts.slot; slot.IsRoot() && a.state.Slot(slot).Digest == digest {
		return fmt.Sprintf("in slot %v, which is %s", slot, a.state.Slot(slot).Status)
	}
	waits := a.state.Slot(a.slot)
	if waits.Digest != digest || len(a.ring.Keys) > 0 && !a.trusts(digest) {
		return ""
	}
	switch {
	case waits.Status == bootctl.Pending && a.state.Active() == a.slot:
		return fmt.Sprintf("staged in slot %v already", a.slot)
	case waits.Status == bootctl.Held && a.opt.StageOnly:
		return fmt.Sprintf("held in slot %v already", a.slot)
	}
	return ""
}

// trusts says whether the keys vouch for what the other slot got of an image
// or update.
func (a *apply) trusts(digest string) bool {
	c, err := a.content(a.slot)
	return err == nil && a.ring.heldStatus(c, digest).SignedBy != ""
}

// checkImage refuses an image that was made for something else.
func checkImage(f facts, img *oci.Image) error {
	if arch := img.Architecture(); arch != "" && arch != f.architecture {
		return fault.Errorf(fault.Refused, "image %s is for %s; the device is %s", img.Reference(), arch, f.architecture)
	}
	return nil
}

// checkManifest refuses a system that would not start on this device, or that
// takes it back. What the manifest leaves open, since nobody has read it yet,
// passes.
func checkManifest(f facts, m manifest.Manifest, allow Allow) error {
	if m.Architecture != f.architecture {
		return fault.Errorf(fault.Refused, "%s is for %s; the device is %s", named(m), m.Architecture, f.architecture)
	}
	if err := manifest.CheckVersion(m.Version); err != nil {
		return fault.Wrap(fault.Refused, err)
	}
	if err := checkKernel(f.selector, m); err != nil {
		return err
	}
	if f.manifest != nil {
		if err := checkRunning(f.manifest, m, allow); err != nil {
			return err
		}
	}
	if slot := failedAs(f.state, m.RootHash); slot.IsRoot() && !allow.Denied {
		return fault.Errorf(fault.Refused, "%s failed on this device before, as %s in slot %v (--allow-denied tries it again)", named(m), f.state.Slot(slot).Digest, slot)
	}
	if err := f.state.CheckFloor(m.Version); err != nil && !allow.Downgrade {
		return fmt.Errorf("%w (--allow-downgrade takes it)", err)
	}
	return nil
}

// failedAs returns the slot in which the same files have failed, whatever the
// image or update is called by now.
func failedAs(s bootctl.State, rootHash string) bootctl.Slot {
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		if e := s.Slot(slot); rootHash != "" && e.RootHash == rootHash && e.Status == bootctl.Bad && s.IsDenied(e.Digest) {
			return slot
		}
	}
	return bootctl.SlotNone
}

// checkRunning compares a system with the one that runs.
func checkRunning(runs *manifest.Manifest, m manifest.Manifest, allow Allow) error {
	if want := runs.Compatible; want != "" && m.Compatible != want {
		return fault.Errorf(fault.Refused, "%s is for %q; the device is %q", named(m), m.Compatible, want)
	}
	ordered := bootctl.Ordered(runs.Version)
	if m.MinVersion != "" && ordered && bootctl.CompareVersions(runs.Version, m.MinVersion) < 0 {
		return fault.Errorf(fault.Refused, "%s asks for version %s or later first; the device runs %s", named(m), m.MinVersion, runs.Version)
	}
	if !allow.Downgrade && ordered && bootctl.Ordered(m.Version) && bootctl.CompareVersions(m.Version, runs.Version) < 0 {
		return fault.Errorf(fault.Refused, "version %s is lower than the running %s (--allow-downgrade takes it)", m.Version, runs.Version)
	}
	return nil
}

// checkKernel refuses what an older selector cannot start: it goes over to no
// other kernel, and adds nothing to the command line.
func checkKernel(sel Selector, m manifest.Manifest) error {
	switch {
	case sel.Kernel == "" || sel.Kexec:
		return nil
	case m.Kernel != "" && m.Kernel != sel.Kernel:
		return fault.Errorf(fault.Refused, "version %s brings kernel %s; this device can start %s only", m.Version, m.Kernel, sel.Kernel)
	case m.Kargs != "":
		return fault.Errorf(fault.Refused, "version %s brings kernel arguments (%s); the selector of this device cannot add them", m.Version, m.Kargs)
	}
	return nil
}

// named is how messages call a system whose version may not be known yet.
func named(m manifest.Manifest) string {
	if m.Version == "" {
		return "the image"
	}
	return "version " + m.Version
}
