package updater

import (
	"context"
	"errors"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/verity"
)

// Verified is what reading one slot found.
type Verified struct {
	Slot       bootctl.Slot `json:"slot"`
	State      string       `json:"state"` // "intact", "damaged" or "empty"
	Version    string       `json:"version,omitempty"`
	RootHash   string       `json:"root_hash,omitempty"`
	ImageBytes int64        `json:"image_bytes,omitempty"`
	Problem    string       `json:"problem,omitempty"`
	SignatureStatus
}

// The values of Verified.State.
const (
	Intact  = "intact"
	Damaged = "damaged"
	Nothing = "empty"
)

// Verify reads the given slots, or all there are, past the page cache and
// against their hash trees. The error is of kind fault.Verify when one is
// damaged.
func (s *System) Verify(ctx context.Context, slots []bootctl.Slot, progress Progress) ([]Verified, error) {
	if err := s.checkTrust(); err != nil {
		return nil, err
	}
	state, err := s.load()
	if err != nil {
		return nil, err
	}
	all := len(slots) == 0
	if all {
		slots = []bootctl.Slot{bootctl.SlotA, bootctl.SlotB}
		if _, err := s.disk.SlotPartition(bootctl.SlotRecovery); err == nil {
			slots = append(slots, bootctl.SlotRecovery)
		}
	}
	var found []Verified
	var damaged error
	for _, slot := range slots {
		v, err := s.verifySlot(ctx, state, slot, progress)
		if err != nil {
			return found, err
		}
		if v.State == Damaged {
			damaged = errors.Join(damaged, fault.Errorf(fault.Verify, "slot %v is damaged: %s", slot, v.Problem))
		} else if v.State == Nothing && !all {
			damaged = errors.Join(damaged, fault.Errorf(fault.Verify, "slot %v is empty", slot))
		}
		found = append(found, v)
	}
	return found, fault.Wrap(fault.Verify, damaged)
}

// verifySlot returns an error only when it could not find out.
func (s *System) verifySlot(ctx context.Context, state bootctl.State, slot bootctl.Slot, progress Progress) (Verified, error) {
	v := Verified{Slot: slot, State: Intact}
	content, err := s.content(slot)
	if isEmpty(err) && (!slot.IsRoot() || state.Slot(slot).Status == bootctl.Empty || state.Slot(slot).Status == bootctl.Writing) {
		v.State = Nothing
		return v, nil
	}
	if err == nil {
		v.SignatureStatus = s.signatureStatus(content)
		m := content.Manifest
		v.Version, v.RootHash, v.ImageBytes = m.Version, m.RootHash, m.ImageBytes
		if slot.IsRoot() && state.Slot(slot).RootHash != "" && state.Slot(slot).RootHash != m.RootHash {
			err = fault.Errorf(fault.Verify, "its root hash is %s, the boot state's %s", m.RootHash, state.Slot(slot).RootHash)
		} else {
			err = s.verifyContent(ctx, slot, content, progress)
		}
	}
	if err == nil {
		return v, nil
	}
	if !isDamage(err) {
		return v, err
	}
	v.State, v.Problem = Damaged, err.Error()
	return v, nil
}

// isDamage says whether err is about what lies in a slot, not about reading it.
func isDamage(err error) bool {
	return errors.Is(err, verity.ErrCorrupt) || errors.Is(err, partitions.ErrCorrupt) ||
		errors.Is(err, partitions.ErrEmpty) || fault.KindOf(err) == fault.Verify
}

// verifyContent reads the slot's image from the medium, against its tree.
func (s *System) verifyContent(ctx context.Context, slot bootctl.Slot, content *partitions.SlotContent, progress Progress) error {
	sec, err := s.slot(slot)
	if err != nil {
		return err
	}
	if err := blockdev.Invalidate(sec, 0, sec.Size()); err != nil {
		return err
	}
	return verifyImage(ctx, sec, content, func(done int64) { progress.Report(StepVerify, done, content.Footer.ImageBytes) })
}

func verifyImage(ctx context.Context, dev blockdev.Device, content *partitions.SlotContent, progress func(int64)) error {
	tree, err := content.Tree(dev)
	if err != nil {
		return err
	}
	image, err := content.Image(dev)
	if err != nil {
		return err
	}
	return tree.VerifyData(ctx, image, progress)
}
