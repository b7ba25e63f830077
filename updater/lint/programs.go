package lint

import (
	"bytes"
	"debug/elf"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// initPaths are the inits that the initramfs looks for, in its order.
var initPaths = []string{"sbin/init", "lib/systemd/systemd", "etc/init", "bin/init"}

// programLimit bounds a program that is looked into, in bytes.
const programLimit = 48 << 20

// A programProbe looks at what has to run: init, mkfs, fsck and abupdate.
type programProbe struct {
	libraries map[string]bool // names of shared libraries, wherever they are
}

func (p *programProbe) entry(_ *tree, e fstree.Entry) {
	if name := base(e.Path); strings.Contains(name, ".so") && e.Type != fstree.Directory {
		if p.libraries == nil {
			p.libraries = map[string]bool{}
		}
		p.libraries[name] = true
	}
}

// dataFilesystem is the file system that the initramfs will make for /var.
func dataFilesystem(t *tree) string {
	for _, fs := range []string{"ext4", "btrfs"} {
		if _, _, ok := t.tool("mkfs." + fs); ok {
			return fs
		}
	}
	return ""
}

// required are the programs whose libraries are looked for.
func required(t *tree) []string {
	var names []string
	if name, _, ok := t.program(initPaths...); ok {
		names = append(names, name)
	}
	for _, tool := range []string{"mkfs." + dataFilesystem(t), "e2fsck", "abupdate"} {
		if name, _, ok := t.tool(tool); ok {
			names = append(names, name)
		}
	}
	return names
}

func (p *programProbe) want(t *tree) {
	for _, name := range required(t) {
		t.ask(name, programLimit)
	}
}

func (p *programProbe) check(t *tree) {
	if _, _, ok := t.program(initPaths...); !ok {
		t.found("no-init", initPaths[0], noProgram(t, initPaths))
	}
	switch dataFilesystem(t) {
	case "":
		t.found("no-mkfs", "usr/sbin/mkfs.ext4", "")
	case "ext4":
		_, _, e2fsck := t.tool("e2fsck")
		_, _, fsck := t.tool("fsck.ext4")
		if !e2fsck && !fsck {
			t.found("no-fsck", "usr/sbin/e2fsck", "")
		}
	}
	if _, _, ok := t.tool("abupdate"); !ok {
		t.found("no-abupdate", "usr/bin/abupdate", "")
	}
	for _, name := range required(t) {
		p.checkProgram(t, name)
	}
	switch arch, _, _ := strings.Cut(t.opt.Architecture, "/"); arch {
	case "":
		t.found("no-architecture", "", "")
	case "amd64", "arm64":
	default:
		t.found("unsupported-architecture", "", arch)
	}
}

// noProgram says for each of names why it is no program.
func noProgram(t *tree, names []string) string {
	var why []string
	for _, name := range names {
		e, ok := t.img.Lookup(name)
		to := t.place(name)
		switch {
		case !ok && to != name && t.links[name] != "":
			why = append(why, "/"+name+" links to /"+to+", which is not there")
		case !ok:
			why = append(why, "/"+name+" is not there")
		case e.Type != fstree.Regular:
			why = append(why, "/"+name+" is a "+e.Type.String())
		default:
			why = append(why, "/"+name+" is not executable")
		}
	}
	return strings.Join(why, "; ")
}

// checkProgram sees whether the kernel could start a file.
func (p *programProbe) checkProgram(t *tree, name string) {
	b := t.content(name)
	if b == nil {
		return // too large, and told so
	}
	if line, ok := bytes.CutPrefix(b, []byte("#!")); ok {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		if words := strings.Fields(string(line)); len(words) == 0 || !t.exists(words[0]) {
			t.foundf("missing-library", name, "its interpreter %q is not in the image", line)
		}
		return
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.found("not-a-program", name, "neither an ELF file nor a script")
		return
	}
	checkArchitecture(t, name, elfArchitecture(f))
	for _, prog := range f.Progs {
		if prog.Type != elf.PT_INTERP || prog.Filesz > 4096 {
			continue
		}
		raw := make([]byte, prog.Filesz)
		if _, err := prog.ReadAt(raw, 0); err != nil {
			continue
		}
		if interp := strings.TrimRight(string(raw), "\x00"); !t.exists(interp) {
			t.found("missing-library", name, "its interpreter "+interp+" is not in the image")
		}
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return
	}
	slices.Sort(libs)
	for _, lib := range slices.Compact(libs) {
		// Where the loader looks depends on much; a name that nothing in the
		// image has, it finds nowhere.
		if !p.libraries[base(lib)] {
			t.found("missing-library", name, "no "+lib+" in the image")
		}
	}
}

func elfArchitecture(f *elf.File) string {
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_386:
		return "386"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_RISCV:
		return "riscv64"
	}
	return strings.ToLower(strings.TrimPrefix(f.Machine.String(), "EM_"))
}

// checkArchitecture compares a file's architecture with the image's word.
func checkArchitecture(t *tree, name, arch string) {
	want, _, _ := strings.Cut(t.opt.Architecture, "/")
	if want != "" && arch != want {
		t.foundf("architecture-mismatch", name, "it is for %s; the image says %s", arch, want)
	}
}
