package initramfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/partitions"
)

// Files of the initramfs that have to do with other kernels; package build
// writes all but the pin.
const (
	wantedPath = "/etc/abupdate/modules.wanted"
	kernelPath = "/etc/abupdate/kernel"
	kargsPath  = "/etc/abupdate/kargs"
	pinPath    = "/etc/abupdate/pinned.json"
)

// kexecPath is there when the running kernel can start others.
const kexecPath = "/sys/kernel/kexec_loaded"

// maxCmdline is what kernels take of a command line, in bytes without its end.
const maxCmdline = 2047

// A pin is what the selector leaves in the initramfs of the kernel that it
// goes over to: the choice was made, saved and counted, and what runs there
// only carries it out. It never starts a third kernel.
type pin struct {
	Slot   bootctl.Slot `json:"slot"`
	Reason string       `json:"reason"`
	Try    int          `json:"try,omitempty"`
	// Counted says that a failure is held against the slot.
	Counted bool `json:"counted,omitempty"`
	// LastBoot is that of the boot state then. It differs when the disk lost
	// what was saved: the choice is then made again, and counted.
	LastBoot bootctl.Boot `json:"last_boot"`
	Selector string       `json:"selector"` // release of the kernel that was started first
}

// A kernel is one that a slot brings along.
type kernel struct {
	release string
	image   string // file
	modules string // folder
	kargs   string // words of the command line
}

// readPin reads the selector's choice, where this is the second kernel.
func (b *boot) readPin() error {
	text, err := readFile(b.path(pinPath))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b.pin = new(pin)
	if err := json.Unmarshal(text, b.pin); err != nil {
		return fmt.Errorf("reading %s: %w", pinPath, err)
	}
	return nil
}

// pinned returns the selector's choice while it holds.
func (b *boot) pinned() (bootctl.Choice, bool) {
	if b.pin == nil || !b.pin.Slot.IsRoot() {
		return bootctl.Choice{}, false
	}
	if b.readOnly == "" && b.state.LastBoot != b.pin.LastBoot {
		b.sys.Log(true, "the boot state changed while the kernel was changed; choosing again")
		return bootctl.Choice{}, false
	}
	if b.pin.Counted {
		b.tried = b.pin.Slot
	} else {
		b.uncountable = true
	}
	return bootctl.Choice{Slot: b.pin.Slot, Reason: b.pin.Reason, Try: b.pin.Try}, true
}

// changeKernel goes over to the slot's own kernel, when that is not the
// running one or wants another command line. It returns without an error only
// when the running kernel is the right one.
func (b *boot) changeKernel(choice bootctl.Choice, c *partitions.SlotContent) error {
	release, err := b.kernelRelease(c)
	if err != nil {
		return err
	}
	running, selectorKargs := b.sys.Release(), b.selectorKargs()
	kargs := c.Manifest.Kargs
	switch {
	case b.pin != nil && release != running:
		return fmt.Errorf("its kernel is %s, and starting it started %s", release, running)
	case b.pin != nil, release == running && inForce(b.line, kargs, selectorKargs):
		return nil
	}
	k, err := findKernel(b.path(lowerDir), release)
	if err != nil {
		return fmt.Errorf("its kernel is %s, the running one is %s: %w", release, running, err)
	}
	k.kargs = kargs
	if err := b.startKernel(choice, k, selectorKargs); err != nil {
		return fmt.Errorf("starting its kernel %s: %w", release, err)
	}
	return nil
}

// kernelRelease returns the release that the slot is to run with. Where the
// manifest names none, modules of other releases alone mean that the image
// wants another kernel; none at all, that everything is built in.
func (b *boot) kernelRelease(c *partitions.SlotContent) (string, error) {
	if c.Manifest.Kernel != "" {
		return c.Manifest.Kernel, nil
	}
	running := b.sys.Release()
	lower := b.path(lowerDir)
	var others []string
	for _, dir := range moduleDirs {
		if isDir(lower, dir+"/"+running) {
			return running, nil
		}
		p, err := resolve(lower, dir)
		if err != nil {
			continue
		}
		entries, _ := os.ReadDir(p)
		for _, e := range entries {
			if e.IsDir() && !slices.Contains(others, e.Name()) {
				others = append(others, e.Name())
			}
		}
	}
	switch len(others) {
	case 0:
		return running, nil
	case 1:
		return others[0], nil
	}
	return "", fmt.Errorf("it has modules of %s and names no kernel; the running one is %s", strings.Join(others, ", "), running)
}

var moduleDirs = []string{"/usr/lib/modules", "/lib/modules"}

// findKernel looks for kernel and modules where packages and bootc have them.
func findKernel(root, release string) (kernel, error) {
	k := kernel{release: release}
	names := []string{"/boot/vmlinuz-" + release}
	for i := len(moduleDirs) - 1; i >= 0; i-- {
		dir := moduleDirs[i] + "/" + release
		if p, err := resolve(root, dir); err == nil && isDir(root, dir) {
			k.modules = p
			names = append([]string{dir + "/vmlinuz"}, names...)
		}
	}
	if k.modules == "" {
		return k, fmt.Errorf("there is no %s/%s", moduleDirs[0], release)
	}
	for _, name := range names {
		p, err := resolve(root, name)
		if err != nil {
			continue
		}
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() {
			k.image = p
			return k, nil
		}
	}
	return k, fmt.Errorf("there is none of %s", strings.Join(names, ", "))
}

// selectorKargs are the words of the command line that came from the image
// that the selector was made of.
func (b *boot) selectorKargs() string {
	text, err := readFile(b.path(kargsPath))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// startKernel loads a kernel with the initramfs made for it and goes over to
// it. It returns only with an error.
func (b *boot) startKernel(choice bootctl.Choice, k kernel, selectorKargs string) error {
	line := newCmdline(b.line, selectorKargs, k.kargs)
	if len(line) > maxCmdline {
		return fmt.Errorf("the command line would have %d bytes, more than the %d that kernels take", len(line), maxCmdline)
	}
	initrd, err := b.newInitrd(k)
	if err != nil {
		return err
	}
	initrd.pin, err = json.Marshal(pin{
		Slot: choice.Slot, Reason: choice.Reason, Try: choice.Try, Counted: b.tried == choice.Slot,
		LastBoot: b.state.LastBoot, Selector: b.sys.Release(),
	})
	if err != nil {
		return err
	}
	b.sys.Alive()
	if err := b.sys.LoadKernel(k.image, initrd.writeTo, line); err != nil {
		return err
	}
	b.sys.Log(false, fmt.Sprintf("slot %v, %s; going over to its kernel %s", choice.Slot, choice.Reason, k.release))
	b.sys.Alive()
	return b.sys.StartKernel()
}

// canKexec says whether the selector's kernel can start others.
func (b *boot) canKexec() bool {
	if b.pin != nil {
		return true // it did
	}
	_, err := os.Stat(b.path(kexecPath))
	return err == nil
}

// selector is the release of the kernel that the selector consists of.
func (b *boot) selector() string {
	if b.pin != nil {
		return b.pin.Selector
	}
	return b.sys.Release()
}
