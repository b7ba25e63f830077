package updater

import (
	"context"
	"fmt"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
)

// Switch stages what an Apply with StageOnly left in a slot, after reading it
// once more. It asks no registry.
func (s *System) Switch(ctx context.Context, allow Allow, progress Progress) (*Applied, error) {
	state, err := s.loadToChange()
	if err != nil {
		return nil, err
	}
	if err := state.CanApply(s.bootedSlot()); err != nil {
		return nil, err
	}
	slot := state.Staged(s.bootedSlot())
	if slot == bootctl.SlotNone || state.Slot(slot).Status != bootctl.Held {
		return nil, fault.Errorf(fault.Nothing, "nothing to switch to: no slot is held")
	}
	release, err := s.claim(slot)
	if err != nil {
		return nil, err
	}
	defer release()
	info := state.Slot(slot).Info()
	content, signer, err := s.checkHeld(ctx, state, slot, allow, progress)
	if err != nil {
		return nil, fmt.Errorf("switching to slot %v: %w", slot, err)
	}
	info.Downgrade = info.Downgrade || allow.Downgrade && state.BelowFloor(info.Version)
	if err := s.save(state.Stage(slot, info)); err != nil {
		return nil, err
	}
	m := content.Manifest
	return &Applied{
		Slot: slot, Version: m.Version, Image: info.Image, Digest: info.Digest, RootHash: m.RootHash, Kernel: m.Kernel,
		ImageBytes: m.ImageBytes, KeptBytes: m.ImageBytes, CopiedBytes: m.ImageBytes, Reused: true,
		SignedBy: signer,
	}, nil
}

// checkHeld holds a held slot against everything that is checked of an update
// before it is staged, and says which trusted key has signed it.
func (s *System) checkHeld(ctx context.Context, state bootctl.State, slot bootctl.Slot, allow Allow, progress Progress) (*partitions.SlotContent, string, error) {
	content, err := s.content(slot)
	if isDamage(err) {
		err = fault.Wrap(fault.Verify, err)
	}
	if err != nil {
		return nil, "", err
	}
	if got, want := content.Manifest.RootHash, state.Slot(slot).RootHash; got != want {
		return nil, "", fault.Errorf(fault.Verify, "its root hash is %s, the boot state's %s", got, want)
	}
	ring, err := s.keyring()
	if err != nil {
		return nil, "", err
	}
	st := ring.heldStatus(content, state.Slot(slot).Digest)
	if len(ring.Keys) > 0 && st.SignedBy == "" {
		return nil, "", fault.Errorf(fault.Verify, "%s; to apply the image again checks its signature anew", st.SignatureProblem)
	}
	if s.signedOnly() && len(content.Signatures) == 0 {
		return nil, "", fault.Errorf(fault.Verify, "it is unsigned, and this device starts only what is signed")
	}
	allow.Downgrade = allow.Downgrade || state.Slot(slot).Downgrade
	if err := checkManifest(s.facts(state), *content.Manifest, allow); err != nil {
		return nil, "", err
	}
	err = s.verifyContent(ctx, slot, content, progress)
	if isDamage(err) {
		err = fault.Wrap(fault.Verify, err)
	}
	return content, st.SignedBy, err
}

// Cancel takes back an update that waits in a slot, staged or held: the next
// boot is what it was without it. What of it lies in the slot stays there, so
// that the same update is not fetched again. When nothing waits, the error is
// of kind fault.Nothing.
func (s *System) Cancel() (*Changed, error) {
	old, err := s.loadToChange()
	if err != nil {
		return nil, err
	}
	state, slot, err := old.Cancel(s.bootedSlot())
	if err != nil {
		return nil, err
	}
	release, err := s.claim(slot)
	if err != nil {
		return nil, err
	}
	defer release()
	done, err := s.commit(old, state, slot)
	if err != nil {
		return nil, err
	}
	done.Version = old.Slot(slot).Version
	// Without its footer nothing finds it when the boot state is lost.
	sec, err := s.slot(slot)
	if err != nil {
		return nil, err
	}
	if err := partitions.NewSlotWriter(sec).Begin(); err != nil {
		return nil, fmt.Errorf("slot %v does not boot; emptying it: %w", slot, err)
	}
	return done, nil
}
