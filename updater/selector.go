package updater

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater/compose"
	"github.com/abupdate/abupdate/updater/selector"
)

// A Selector is what the firmware starts to choose a slot.
type Selector struct {
	// Version is that of the image that it was made of, SlotVersion that of
	// the one which the booted slot brings; "" when nobody knows.
	Version     string `json:"version,omitempty"`
	SlotVersion string `json:"slot_version,omitempty"`
	Kernel      string `json:"kernel"` // its release
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
	return describeSelector(loader)
}

// describeSelector reads what a UKI says of itself, nothing where it is none.
func describeSelector(r io.ReaderAt) Selector {
	uki, err := build.ReadUKIText(r)
	if err != nil {
		return Selector{}
	}
	return Selector{
		Version: compose.ParseOSRelease(uki.OSRelease)["VERSION_ID"], Kernel: uki.Uname,
		Kexec: strings.Contains("\n"+uki.OSRelease+"\n", "\n"+SelectorKexec+"\n"),
	}
}

// LoaderPath is where firmware looks for the selector on the ESP.
func LoaderPath(arch string) string {
	if arch == "arm64" {
		return "EFI/BOOT/BOOTAA64.EFI"
	}
	return "EFI/BOOT/BOOTX64.EFI"
}

// complete adds what is on the ESP and in the booted slot, as far as it is
// known without a mount.
func (sel *Selector) complete(s *System, root string) {
	if s.booted == nil {
		return
	}
	name := LoaderPath(runtime.GOARCH)
	if v := selector.OpenVariables(filepath.Join("/", root, selector.EFIDir)); v != nil {
		name = cmp.Or(selector.BootedFile(v), name)
	}
	file, err := disk.OpenESP(s.disk, name)
	if err == nil {
		if on := describeSelector(file); on.Kernel == sel.Kernel { // else it is not what was started
			sel.Version = on.Version
		}
	}
	if !HasSelector(root) {
		return
	}
	brought := slotSelector(root)
	sel.Slot = fileDigest(os.Open(brought))
	sel.SlotVersion = describeFile(os.Open(brought)).Version
	if sel.Digest = selector.OwnDigest(name); sel.Digest == "" && err == nil {
		sel.Digest = fileDigest(io.NopCloser(file), nil)
	}
	sel.Due = sel.Slot != "" && (!strings.HasPrefix(sel.Slot, sel.Digest) || sel.Digest == "")
}

func fileDigest(f io.ReadCloser, err error) string {
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}
