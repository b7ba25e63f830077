package updater

import (
	"strings"

	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/partitions/disk"
)

// A Selector is what the firmware starts to choose a slot.
type Selector struct {
	Kernel string `json:"kernel"` // its release
	// Kexec says that it goes over to a slot's kernel when that is another.
	Kexec bool `json:"kexec"`
	// Digest is that of the selector that was started, or its start, Slot
	// that of the one which the booted slot brings; "" when there is none.
	Digest string `json:"digest,omitempty"`
	Slot   string `json:"slot_digest,omitempty"`
	// Due says that they differ.
	Due bool `json:"due,omitempty"`
}

// SelectorKexec is the line in the os-release of a selector's UKI that says
// that its initramfs can start other kernels.
const SelectorKexec = "ABUPDATE_KEXEC=1"

// selector is the one that started this system, else the UKI on the ESP. The
// zero Selector is one that nobody knows.
func (s *System) selector(arch string) Selector {
	if b := s.booted; b != nil {
		switch {
		case b.Selector != "":
			return Selector{Kernel: b.Selector, Kexec: b.Kexec}
		case b.Kernel != "":
			return Selector{Kernel: b.Kernel}
		}
		return Selector{Kernel: uname()}
	}
	loader, err := disk.OpenESP(s.disk, LoaderPath(arch))
	if err != nil {
		return Selector{}
	}
	uki, err := build.ReadUKIText(loader)
	if err != nil {
		return Selector{}
	}
	return Selector{Kernel: uki.Uname, Kexec: strings.Contains("\n"+uki.OSRelease+"\n", "\n"+SelectorKexec+"\n")}
}

// LoaderPath is where firmware looks for the selector on the ESP.
func LoaderPath(arch string) string {
	if arch == "arm64" {
		return "EFI/BOOT/BOOTAA64.EFI"
	}
	return "EFI/BOOT/BOOTX64.EFI"
}
