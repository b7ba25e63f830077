package updater

import (
	"errors"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
)

// facts are what an image must match before it may be written.
type facts struct {
	slot         bootctl.Slot       // that runs; on a disk that does not run, the one that stays
	manifest     *manifest.Manifest // of that slot, nil when it has none
	architecture string
	selector     Selector
	state        bootctl.State
}

// facts reads what there is to know about the device.
func (s *System) facts(state bootctl.State) facts {
	f := facts{slot: s.bootedSlot(), state: state}
	if f.slot == bootctl.SlotNone {
		f.slot = state.Inactive(bootctl.SlotNone).Other()
	}
	if content, err := s.content(f.slot); err == nil {
		f.manifest = content.Manifest
	}
	f.architecture = s.architecture(f.manifest)
	f.selector = s.selector(f.architecture)
	return f
}

// content reads what lies in a slot.
func (s *System) content(slot bootctl.Slot) (*partitions.SlotContent, error) {
	sec, err := s.slot(slot)
	if err != nil {
		return nil, err
	}
	return partitions.ReadSlot(sec)
}

// architecture is that of the running slot, else what the partition table
// says, else this machine's.
func (s *System) architecture(m *manifest.Manifest) string {
	if m != nil {
		return m.Architecture
	}
	if part, err := s.disk.SlotPartition(bootctl.SlotA); err == nil {
		for _, arch := range []string{"amd64", "arm64"} {
			if typ, err := partitions.RootType(arch); err == nil && typ == part.TypeGUID {
				return arch
			}
		}
	}
	return runtime.GOARCH
}

func uname() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// isEmpty says whether reading a slot failed because nothing is in it.
func isEmpty(err error) bool { return errors.Is(err, partitions.ErrEmpty) }
