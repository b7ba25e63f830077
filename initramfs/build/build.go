// Package build makes what the firmware starts: the initramfs, a zstd newc
// cpio of abinit and the kernel modules that it loads, and the unified kernel
// image (UKI) that joins it with a kernel. The same input gives the same
// bytes.
package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"
)

// Names inside the initramfs that abinit reads.
const (
	// ModulesPath lists the modules in load order, one absolute path a line;
	// a leading "?" marks one that may fail to load.
	ModulesPath = "/etc/abupdate/modules"
	// WantedPath lists the modules that were asked for, a name a line: for
	// another kernel they are found anew.
	WantedPath = "/etc/abupdate/modules.wanted"
	// KargsPath holds Options.Kargs.
	KargsPath = "/etc/abupdate/kargs"
	// ConfigPath holds Options.Config.
	ConfigPath = "/etc/abupdate/initramfs.json"
)

// Options says what goes into an initramfs.
type Options struct {
	// Init is the abinit binary.
	Init []byte
	// Release is the kernel's release, as uname -r prints it.
	Release string
	// Source holds the files of the kernel's module folder.
	Source ModuleSource
	// Modules are the modules to load, in order, a leading "?" marking one
	// that may be absent; nil means DefaultModules.
	Modules []string
	// Kargs are those words of the command line beside the initramfs that the
	// image adds: another image has others in their place.
	Kargs string
	// Config becomes ConfigPath; nil means none.
	Config []byte
	// Extra are further regular files: absolute path to content. Mode is 0755
	// below a folder named bin or sbin, else 0644.
	Extra map[string][]byte
}

// Info describes a written initramfs.
type Info struct {
	Bytes    int64    // compressed
	RawBytes int64    // the cpio
	SHA256   string   // hex, of the compressed bytes
	Modules  []Module // in load order, without Data
}

// DefaultModules returns what a system needs to reach its root: watchdogs,
// virtio and common disk controllers, verity, squashfs, overlay, and the ESP's
// file system. The order is the load order. Absent optional ones are built in
// or not for this kernel.
func DefaultModules() []string {
	return []string{
		// First what guards the rest; softdog is loaded only where nothing
		// else does.
		"?i6300esb", "?iTCO_wdt", "?sp5100_tco", "?wdat_wdt", "?softdog",
		"?virtio_pci", "?virtio_mmio", "?virtio_blk", "?virtio_scsi", "?virtio_console",
		"?nvme", "?sd_mod", "?ahci", "?xhci_pci", "?usb_storage", "?uas", "?mmc_block", "?sdhci_pci",
		// dm-verity takes the fastest SHA-256 that is there when it starts;
		// the plain one, which is built in, is five times slower.
		"?sha256_ssse3", "?sha2_ce", "?sha256_arm64",
		"dm_mod", "dm_verity", "?dax", "squashfs", "overlay", "?ext4",
		"?vfat", "?nls_cp437", "?nls_ascii", "?nls_utf8", "?efivarfs",
	}
}

// Initramfs writes an initramfs to w.
func Initramfs(w io.Writer, opt Options) (Info, error) {
	if len(opt.Init) == 0 {
		return Info{}, errors.New("building initramfs: no init binary")
	}
	if opt.Release == "" || opt.Source == nil {
		return Info{}, errors.New("building initramfs: no kernel release or no modules")
	}
	want := opt.Modules
	if want == nil {
		want = DefaultModules()
	}
	opt.Modules = want
	mods, err := ResolveModules(opt.Source, want)
	if err != nil {
		return Info{}, fmt.Errorf("building initramfs for kernel %s: %w", opt.Release, err)
	}
	sum, packed := sha256.New(), &counter{}
	zw, err := zstd.NewWriter(io.MultiWriter(w, sum, packed),
		zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(8<<20), // the kernel's decompressor takes up to 128 MiB
		zstd.WithEncoderConcurrency(1))
	if err != nil {
		return Info{}, fmt.Errorf("building initramfs: %w", err)
	}
	raw := &counter{}
	if err := writeTree(io.MultiWriter(zw, raw), opt, mods); err != nil {
		return Info{}, fmt.Errorf("building initramfs: %w", err)
	}
	if err := zw.Close(); err != nil {
		return Info{}, fmt.Errorf("building initramfs: %w", err)
	}
	info := Info{Bytes: packed.n, RawBytes: raw.n, SHA256: hex.EncodeToString(sum.Sum(nil)), Modules: mods}
	for i := range info.Modules {
		info.Modules[i].Data = nil
	}
	return info, nil
}

// writeTree writes the cpio: static nodes, which the kernel needs before any
// devtmpfs is there, then files sorted by name.
func writeTree(w io.Writer, opt Options, mods []Module) error {
	files := map[string]cpioFile{
		"init":                       {mode: 0o755, data: opt.Init},
		rel(ModulesPath):             {mode: 0o644, data: loadOrder(opt.Release, mods)},
		rel(WantedPath):              {mode: 0o644, data: []byte(strings.Join(opt.Modules, "\n") + "\n")},
		"etc/abupdate/kernel":        {mode: 0o644, data: []byte(opt.Release + "\n")},
		"etc/initrd-release":         {mode: 0o644, data: []byte("NAME=abupdate\nID=abupdate\n")},
		"lib/modules/" + opt.Release: {dir: true},
	}
	if opt.Kargs != "" {
		files[rel(KargsPath)] = cpioFile{mode: 0o644, data: []byte(opt.Kargs + "\n")}
	}
	if opt.Config != nil {
		files[rel(ConfigPath)] = cpioFile{mode: 0o644, data: opt.Config}
	}
	for _, m := range mods {
		files[rel(modulePath(opt.Release, m))] = cpioFile{mode: 0o644, data: m.Data}
	}
	for name, data := range opt.Extra {
		if _, dup := files[rel(name)]; dup {
			return fmt.Errorf("file %s stands for itself already", name)
		}
		mode := uint64(0o644)
		if base := path.Base(path.Dir(name)); base == "bin" || base == "sbin" {
			mode = 0o755
		}
		files[rel(name)] = cpioFile{mode: mode, data: data}
	}
	for _, dir := range []string{"dev", "proc", "run", "sys", "sysroot", "tmp", "var"} {
		files[dir] = cpioFile{dir: true}
	}
	files["dev/console"] = cpioFile{mode: 0o600, major: 5, minor: 1, char: true}
	files["dev/null"] = cpioFile{mode: 0o666, major: 1, minor: 3, char: true}
	addParents(files)
	c := cpio.Newc.Writer(w)
	for i, name := range slices.Sorted(maps.Keys(files)) {
		if err := c.WriteRecord(files[name].record(name, uint64(i+1))); err != nil {
			return fmt.Errorf("writing /%s: %w", name, err)
		}
	}
	return cpio.WriteTrailer(c)
}

func addParents(files map[string]cpioFile) {
	for _, name := range slices.Collect(maps.Keys(files)) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := files[dir]; !ok {
				files[dir] = cpioFile{dir: true}
			}
		}
	}
}

func loadOrder(release string, mods []Module) []byte {
	var b strings.Builder
	for _, m := range mods {
		if m.Optional {
			b.WriteByte('?')
		}
		b.WriteString(modulePath(release, m) + "\n")
	}
	return []byte(b.String())
}

func modulePath(release string, m Module) string {
	return "/lib/modules/" + release + "/" + m.Path
}

func rel(name string) string { return strings.TrimPrefix(path.Clean(name), "/") }

type counter struct{ n int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
