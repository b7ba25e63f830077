package lint

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// A need is something that a kernel must have.
type need struct {
	rule   string
	what   string
	module string // "" when it is never a module
	config string // without CONFIG_
}

// needed lists what the initramfs and /var need.
func needed(t *tree) []need {
	list := []need{
		{"kernel-no-verity", "the device mapper", "dm_mod", "BLK_DEV_DM"},
		{"kernel-no-verity", "dm-verity", "dm_verity", "DM_VERITY"},
		{"kernel-no-squashfs", "squashfs", "squashfs", "SQUASHFS"},
		{"kernel-no-overlay", "overlayfs", "overlay", "OVERLAY_FS"},
		{"kernel-no-initramfs", "an initramfs", "", "BLK_DEV_INITRD"},
		{"kernel-no-initramfs", "zstd for the initramfs", "", "RD_ZSTD"},
		{"kernel-no-efi-stub", "the EFI stub", "", "EFI_STUB"},
		{"kernel-no-devtmpfs", "devtmpfs", "", "DEVTMPFS"},
		{"kernel-no-devtmpfs", "tmpfs", "", "TMPFS"},
	}
	switch t.opt.Compression {
	case "", "zstd":
		list = append(list, need{"kernel-no-decompressor", "zstd in squashfs", "", "SQUASHFS_ZSTD"})
	case "gzip":
		list = append(list, need{"kernel-no-decompressor", "gzip in squashfs", "", "SQUASHFS_ZLIB"})
	}
	switch dataFilesystem(t) {
	case "ext4":
		list = append(list, need{"kernel-no-data-filesystem", "ext4", "ext4", "EXT4_FS"})
	case "btrfs":
		list = append(list, need{"kernel-no-data-filesystem", "btrfs", "btrfs", "BTRFS_FS"})
	}
	return list
}

// diskDrivers are the modules that make a disk appear; one of them will do.
var diskDrivers = []string{"virtio_blk", "nvme", "sd_mod", "mmc_block", "xen_blkfront"}

// A presence says whether a kernel has something.
type presence uint8

const (
	unknown presence = iota
	absent
	present
)

// features is what a kernel's files tell.
type features struct {
	modules map[string]bool
	builtin map[string]bool   // nil: not known
	config  map[string]string // nil: not known; "y", "m" and other values
	path    string            // of config
	lacking map[string]string // module to a file that it depends on and that is not there
}

func (k *kernel) features(t *tree) features {
	f := features{modules: k.modules, lacking: map[string]string{}}
	for file, deps := range parseDeps(t.text(k.dir + "/modules.dep")) {
		if name, ok := moduleName(file); ok {
			if i := slices.IndexFunc(deps, func(d string) bool { return !k.files[d] }); i >= 0 {
				f.lacking[name] = deps[i]
			}
		}
	}
	if text := t.text(k.dir + "/modules.builtin"); text != "" {
		f.builtin = map[string]bool{}
		for line := range strings.Lines(text) {
			if name, ok := moduleName(strings.TrimSpace(line)); ok {
				f.builtin[name] = true
			}
		}
	}
	for _, name := range k.configs() {
		if f.config = parseConfig(t.text(name)); f.config != nil {
			f.path = "/" + name
			break
		}
	}
	return f
}

// parseConfig reads a kernel configuration; nil when it is none.
func parseConfig(text string) map[string]string {
	var config map[string]string
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if name, isOption := strings.CutPrefix(name, "CONFIG_"); ok && isOption {
			if config == nil {
				config = map[string]string{}
			}
			config[name] = value
		}
	}
	return config
}

// has looks for one thing: a module, a built-in one, or an option.
func (f features) has(n need) (presence, string) {
	switch {
	case n.module == "":
	case f.builtin[n.module]:
		return present, ""
	case f.modules[n.module] && f.lacking[n.module] != "":
		return absent, "module " + n.module + " needs " + f.lacking[n.module] + ", which is not there"
	case f.modules[n.module]:
		return present, ""
	}
	switch {
	case f.config == nil:
	case f.config[n.config] == "y":
		return present, ""
	case f.config[n.config] == "m":
		return absent, f.path + " has CONFIG_" + n.config + "=m, and there is no module " + n.module
	default:
		return absent, f.path + " does not set CONFIG_" + n.config
	}
	if n.module != "" && f.builtin != nil {
		return absent, "no module " + n.module + ", and modules.builtin does not name it"
	}
	return unknown, ""
}

// hasAny looks for one of several modules.
func (f features) hasAny(modules []string) (presence, string) {
	for _, m := range modules {
		if f.modules[m] || f.builtin[m] {
			return present, ""
		}
	}
	if f.builtin == nil {
		return unknown, ""
	}
	return absent, ""
}

// bzImageVersion returns the release that an x86 kernel image names, "" for
// anything else (Documentation/arch/x86/boot.rst).
func bzImageVersion(b []byte) string {
	if len(b) < 0x210 || string(b[0x202:0x206]) != "HdrS" {
		return ""
	}
	off := int(binary.LittleEndian.Uint16(b[0x20e:])) + 0x200
	if off == 0x200 || off >= len(b) {
		return ""
	}
	text, _, ok := bytes.Cut(b[off:min(off+256, len(b))], []byte{0})
	if !ok {
		return ""
	}
	release, _, _ := strings.Cut(string(text), " ")
	return release
}

// peArchitecture returns the architecture of a PE file, which a kernel with an
// EFI stub is; "" for anything else.
func peArchitecture(b []byte) string {
	if len(b) < 0x40 || b[0] != 'M' || b[1] != 'Z' {
		return ""
	}
	off := int(binary.LittleEndian.Uint32(b[0x3c:]))
	if off < 0 || off+6 > len(b) || string(b[off:off+4]) != "PE\x00\x00" {
		return ""
	}
	switch binary.LittleEndian.Uint16(b[off+4:]) {
	case 0x8664:
		return "amd64"
	case 0xaa64:
		return "arm64"
	case 0x14c:
		return "386"
	case 0x5064:
		return "riscv64"
	}
	return ""
}
