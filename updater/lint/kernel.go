package lint

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// moduleDirs hold one folder per kernel release.
var moduleDirs = []string{"usr/lib/modules/", "lib/modules/"}

// A kernelProbe looks at kernels and their modules.
type kernelProbe struct {
	kernels map[string]*kernel // by release
}

// A kernel is what there is of one release.
type kernel struct {
	release string
	images  []string        // vmlinuz
	dir     string          // of modules; "" for none
	modules map[string]bool // by name
	files   map[string]bool // of modules, relative to dir
	entries int             // of dir
}

func (p *kernelProbe) at(release string) *kernel {
	k := p.kernels[release]
	if k == nil {
		if p.kernels == nil {
			p.kernels = map[string]*kernel{}
		}
		k = &kernel{release: release, modules: map[string]bool{}, files: map[string]bool{}}
		p.kernels[release] = k
	}
	return k
}

// minInitrd is the size from which on an initramfs is worth a word.
const minInitrd = 1 << 20

func (p *kernelProbe) entry(t *tree, e fstree.Entry) {
	if name, ok := strings.CutPrefix(e.Path, "boot/"); ok {
		if release, ok := strings.CutPrefix(name, "vmlinuz-"); ok && release != "" && !strings.Contains(release, "/") {
			k := p.at(release)
			k.images = append(k.images, e.Path)
		}
		if e.Type == fstree.Regular && e.Size >= minInitrd && (strings.HasPrefix(name, "initrd") || strings.HasPrefix(name, "initramfs")) {
			t.foundf("unused-initramfs", e.Path, "%d bytes", e.Size)
		}
		return
	}
	for _, dir := range moduleDirs {
		if rest, ok := strings.CutPrefix(e.Path, dir); ok && e.Path != dir {
			p.module(dir, rest, e)
		}
	}
}

func (p *kernelProbe) module(dir, rest string, e fstree.Entry) {
	release, name, inside := strings.Cut(rest, "/")
	if !inside {
		if e.Type == fstree.Directory {
			p.at(release).dir = dir + release
		}
		return
	}
	k := p.at(release)
	k.entries++
	if name == "vmlinuz" {
		k.images = append(k.images, e.Path)
	}
	if mod, ok := moduleName(name); ok {
		k.modules[mod] = true
		k.files[name] = true
	}
}

// moduleName returns what lsmod calls the module in a file.
func moduleName(file string) (string, bool) {
	name := path.Base(file)
	for _, ext := range []string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if s, ok := strings.CutSuffix(name, ext); ok {
			return strings.ReplaceAll(s, "-", "_"), true
		}
	}
	return "", false
}

// complete says whether abupdate takes this for a kernel: an image and its
// folder of modules, which may be empty.
func (k *kernel) complete(t *tree) bool {
	return k.dir != "" && slices.ContainsFunc(k.images, func(image string) bool {
		e, ok := t.img.Lookup(image)
		return ok && e.Type == fstree.Regular
	})
}

func (p *kernelProbe) sorted() []*kernel {
	var list []*kernel
	for _, release := range slices.Sorted(maps.Keys(p.kernels)) {
		list = append(list, p.kernels[release])
	}
	return list
}

// imageLimit bounds a kernel image, in bytes.
const imageLimit = 64 << 20

func (k *kernel) configs() []string { return []string{k.dir + "/config", "boot/config-" + k.release} }

func (p *kernelProbe) want(t *tree) {
	for _, k := range p.sorted() {
		if !k.complete(t) {
			continue
		}
		for _, name := range []string{"/modules.builtin", "/modules.dep"} {
			t.ask(k.dir+name, 16<<20)
		}
		for _, name := range k.configs() {
			t.ask(name, 4<<20)
		}
		t.ask(k.images[0], imageLimit)
	}
}

func (p *kernelProbe) check(t *tree) {
	var complete []string
	for _, k := range p.sorted() {
		if k.complete(t) {
			complete = append(complete, k.release)
			k.check(t)
			continue
		}
		switch {
		case len(k.images) > 0:
			t.found("kernel-without-modules", k.images[0], "no folder /usr/lib/modules/"+k.release)
		case len(k.files) > 0:
			t.foundf("modules-without-kernel", k.dir, "%d modules", len(k.files))
		}
	}
	switch len(complete) {
	case 0:
		t.found("no-kernel", "usr/lib/modules", "neither /usr/lib/modules/RELEASE/vmlinuz nor /boot/vmlinuz-RELEASE with modules")
	case 1:
	default:
		t.found("several-kernels", "usr/lib/modules", strings.Join(complete, ", "))
	}
}

func (k *kernel) check(t *tree) {
	f := k.features(t)
	var open []string
	for _, w := range needed(t) {
		if got, why := f.has(w); got == absent {
			t.found(w.rule, k.dir, k.release+": "+why)
		} else if got == unknown {
			open = append(open, w.what)
		}
	}
	if len(open) > 0 {
		t.found("kernel-config-unknown", k.dir, "whether it has "+strings.Join(open, ", "))
	}
	if got, _ := f.hasAny(diskDrivers); got == absent {
		t.found("kernel-no-disk-driver", k.dir, k.release+": none of "+strings.Join(diskDrivers, ", "))
	}
	k.checkKexec(t, f)
	k.checkDeps(t)
	k.checkImage(t)
}

// checkKexec looks at what a change of kernels needs of the one that is left.
func (k *kernel) checkKexec(t *tree, f features) {
	if f.config != nil && f.config["KEXEC_FILE"] != "y" {
		t.found("kernel-no-kexec", k.dir, k.release+": "+f.path+" does not set CONFIG_KEXEC_FILE")
	}
}

// checkImage compares what the kernel says of itself.
func (k *kernel) checkImage(t *tree) {
	b := t.content(k.images[0])
	if v := bzImageVersion(b); v != "" && v != k.release {
		t.foundf("kernel-release", k.images[0], "it calls itself %s; its folder of modules %s", v, k.release)
	}
	if arch := peArchitecture(b); arch != "" {
		checkArchitecture(t, k.images[0], arch)
	}
}

// checkDeps looks at what modprobe reads.
func (k *kernel) checkDeps(t *tree) {
	if len(k.files) == 0 {
		return
	}
	name := k.dir + "/modules.dep"
	if !t.exists(name) {
		if _, _, ok := t.tool("modprobe"); !ok {
			if _, _, ok := t.tool("kmod"); !ok {
				return // nobody in this image loads modules by name
			}
		}
		t.foundf("no-modules-dep", k.dir, "%d modules", len(k.files))
		return
	}
	var gone []string
	deps := parseDeps(t.text(name))
	for _, file := range slices.Sorted(maps.Keys(deps)) {
		for _, f := range append(deps[file], file) {
			if !k.files[f] && !slices.Contains(gone, f) && len(gone) < maxPerRule {
				gone = append(gone, f)
			}
		}
	}
	for _, f := range gone {
		t.found("stale-modules-dep", name, "it names "+f+", which is not there")
	}
	for _, f := range slices.Sorted(maps.Keys(k.files)) {
		if _, listed := deps[f]; !listed && len(deps) > 0 {
			t.found("stale-modules-dep", k.dir+"/"+f, "modules.dep does not name it")
		}
	}
}

// parseDeps reads modules.dep: each module's file, and the files of all that
// it needs.
func parseDeps(text string) map[string][]string {
	deps := map[string][]string{}
	for line := range strings.Lines(text) {
		if file, rest, ok := strings.Cut(line, ":"); ok {
			deps[file] = strings.Fields(rest)
		}
	}
	return deps
}
