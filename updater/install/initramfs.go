package install

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
)

// InitramfsOptions says what Initramfs makes.
type InitramfsOptions struct {
	Ref      string
	Output   string // file for the initramfs, "" for none
	UKI      string // file for the UKI, "" for none
	Boot     BootOptions
	Source   updater.SourceOptions
	Progress updater.Progress
}

// Initramfsed tells what Initramfs made.
type Initramfsed struct {
	Kernel   string   `json:"kernel"`
	Output   string   `json:"output,omitempty"`
	UKI      string   `json:"uki,omitempty"`
	Bytes    int64    `json:"bytes"` // of the initramfs
	UKIBytes int64    `json:"uki_bytes,omitempty"`
	SHA256   string   `json:"sha256"` // of the initramfs
	Modules  []string `json:"modules"`
}

// bootLimit bounds what is read of an image for its selector, in bytes.
const bootLimit = 1 << 30

// Initramfs makes initramfs and UKI for an image's kernel, and no disk. The
// command line of the UKI is opt.Boot.Append and what the image adds: which disk
// to boot is found by the partition that the UKI was started from.
func Initramfs(ctx context.Context, opt InitramfsOptions) (*Initramfsed, error) {
	for _, path := range []string{opt.Output, opt.UKI} {
		if st, err := os.Stat(path); err == nil && st.IsDir() {
			return nil, fault.Errorf(fault.Usage, "writing %s: it is a directory", path)
		}
	}
	if opt.Output != "" && filepath.Clean(opt.Output) == filepath.Clean(opt.UKI) {
		return nil, fault.Errorf(fault.Usage, "writing %s: it cannot be both the initramfs and the EFI program", opt.Output)
	}
	im, err := updater.OpenImage(ctx, opt.Ref, opt.Source, opt.Progress)
	if err != nil {
		return nil, err
	}
	defer im.Close()
	plan, desc, err := im.ReadHeaders(ctx)
	if err != nil {
		return nil, err
	}
	if opt.UKI == "" {
		opt.Boot.Stub = StubNone
	} else if opt.Boot.Stub == StubNone {
		return nil, fault.Errorf(fault.Usage, "a UKI cannot be made with --stub %s", StubNone)
	}
	t, err := findTools(opt.Boot, desc.Architecture)
	if err != nil {
		return nil, err
	}
	kernel, err := compose.FindKernel(plan)
	if err != nil {
		return nil, err
	}
	files, err := plan.ReadFiles(ctx, []string{kernel.Path}, bootLimit)
	if err != nil {
		return nil, fmt.Errorf("reading the kernel: %w", err)
	}
	b := &bootFiles{kernel: files[kernel.Path], kargs: desc.Kargs, cmdline: join(strings.Join(opt.Boot.Append, " "), desc.Kargs), arch: desc.Architecture}
	if err := b.build(t, kernel.Release, planModules{ctx, plan, kernel.Modules}, osRelease(&desc)); err != nil {
		return nil, err
	}
	made := &Initramfsed{
		Kernel: kernel.Release, Output: opt.Output, UKI: opt.UKI,
		Bytes: b.info.Bytes, SHA256: b.info.SHA256, UKIBytes: int64(len(b.uki)),
	}
	for _, m := range b.info.Modules {
		made.Modules = append(made.Modules, m.Name)
	}
	for path, content := range map[string][]byte{opt.Output: b.initramfs, opt.UKI: b.uki} {
		if path == "" {
			continue
		}
		err := renameio.WriteFile(path, content, 0o644)
		if err == nil {
			err = updater.SyncFolder(path)
		}
		if err != nil {
			return nil, fmt.Errorf("writing %s: %w", path, err)
		}
	}
	return made, nil
}

// planModules is the folder of a kernel's modules, read from an image's
// layers. Every Read is a pass over them.
type planModules struct {
	ctx  context.Context
	plan *oci.Plan
	dir  string
}

var _ build.ModuleSource = planModules{}

// Names implements build.ModuleSource.
func (m planModules) Names() ([]string, error) {
	var names []string
	for e := range m.plan.Entries() {
		if name, ok := strings.CutPrefix(e.Path, m.dir+"/"); ok && (e.Type == fstree.Regular || e.Type == fstree.Hardlink) {
			names = append(names, name)
		}
	}
	return names, nil
}

// Read implements build.ModuleSource.
func (m planModules) Read(names []string) (map[string][]byte, error) {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = m.dir + "/" + name
	}
	files, err := m.plan.ReadFiles(m.ctx, paths, bootLimit)
	if err != nil {
		return nil, err
	}
	found := make(map[string][]byte, len(files))
	for path, content := range files {
		found[strings.TrimPrefix(path, m.dir+"/")] = content
	}
	return found, nil
}
