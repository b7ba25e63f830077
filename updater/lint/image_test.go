package lint_test

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// files describes an image: path to content. "-> x" is a symlink, "=> x" a
// hardlink; a path that ends in a slash is a directory. What stands below a
// folder called bin or sbin is executable; "mode:path" sets another mode.
type files map[string]string

// with returns a copy with some files more; "" as a file's new content removes
// what is at the path, and below it.
func (f files) with(more files) files {
	out := maps.Clone(f)
	for name, content := range more {
		if content != "" || strings.HasSuffix(name, "/") {
			out[name] = content
			continue
		}
		for old := range out {
			if old == name || strings.HasPrefix(old, strings.TrimSuffix(name, "/")+"/") {
				delete(out, old)
			}
		}
	}
	return out
}

const empty = "\x00" // content of an empty file

// image is a lint.Image of files.
type image struct {
	entries  []fstree.Entry
	byPath   map[string]fstree.Entry
	contents map[string]string
	reads    int
}

func (f files) image() *image {
	im := &image{byPath: map[string]fstree.Entry{}, contents: map[string]string{}}
	im.add(fstree.Entry{Type: fstree.Directory, Mode: 0o755}, "")
	for _, name := range slices.Sorted(maps.Keys(f)) {
		im.file(name, f[name])
	}
	for _, name := range slices.Sorted(maps.Keys(im.byPath)) {
		im.entries = append(im.entries, im.byPath[name])
	}
	// Hardlinks come after their first names.
	slices.SortStableFunc(im.entries, func(a, b fstree.Entry) int {
		return strings.Compare(fmt.Sprint(a.Type == fstree.Hardlink), fmt.Sprint(b.Type == fstree.Hardlink))
	})
	return im
}

func (im *image) file(name, content string) {
	mode := uint16(0o644)
	if m, rest, ok := strings.Cut(name, ":"); ok {
		fmt.Sscanf(m, "%o", &mode)
		name = rest
	} else if dir := path.Base(path.Dir(name)); dir == "bin" || dir == "sbin" || path.Base(name) == "systemd" {
		mode = 0o755
	}
	e := fstree.Entry{Path: strings.TrimSuffix(name, "/"), Type: fstree.Regular, Mode: mode, ModTime: 1_700_000_000}
	switch {
	case strings.HasSuffix(name, "/"):
		e.Type, e.Mode, content = fstree.Directory, 0o755, ""
	case strings.HasPrefix(content, "-> "):
		e.Type, e.Mode, e.Linkname, content = fstree.Symlink, 0o777, content[3:], ""
	case strings.HasPrefix(content, "=> "):
		e.Type, e.Linkname, content = fstree.Hardlink, content[3:], ""
	case strings.HasPrefix(content, "char "):
		e.Type = fstree.CharDevice
		fmt.Sscanf(content, "char %d:%d", &e.Major, &e.Minor)
		content = ""
	case content == "fifo":
		e.Type, content = fstree.FIFO, ""
	case strings.HasPrefix(content, "time "):
		fmt.Sscanf(content, "time %d", &e.ModTime)
	case content == empty:
		content = ""
	}
	e.Size = int64(len(content))
	im.add(e, content)
}

func (im *image) add(e fstree.Entry, content string) {
	for dir := path.Dir(e.Path); e.Path != "" && dir != "."; dir = path.Dir(dir) {
		if _, ok := im.byPath[dir]; !ok {
			im.byPath[dir] = fstree.Entry{Path: dir, Type: fstree.Directory, Mode: 0o755, ModTime: 1_700_000_000}
		}
	}
	im.byPath[e.Path], im.contents[e.Path] = e, content
}

func (im *image) Entries() iter.Seq[fstree.Entry] { return slices.Values(im.entries) }

func (im *image) Lookup(name string) (fstree.Entry, bool) {
	todo, at := strings.Split(name, "/"), ""
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		if part == "" || part == "." {
			continue
		}
		if part == ".." {
			at = strings.TrimPrefix(path.Dir("/"+at), "/")
			continue
		}
		next := strings.TrimPrefix(at+"/"+part, "/")
		e, ok := im.byPath[next]
		if !ok {
			return fstree.Entry{}, false
		}
		if e.Type == fstree.Hardlink {
			e = im.byPath[e.Linkname]
		}
		if e.Type != fstree.Symlink {
			at = next
			continue
		}
		if links++; links > 40 {
			return fstree.Entry{}, false
		}
		if strings.HasPrefix(e.Linkname, "/") {
			at = ""
		}
		todo = append(strings.Split(e.Linkname, "/"), todo...)
	}
	e := im.byPath[at]
	if e.Type == fstree.Hardlink {
		e = im.byPath[e.Linkname]
	}
	return e, true
}

func (im *image) ReadFiles(_ context.Context, paths []string, limit int64) (map[string][]byte, error) {
	im.reads++
	got := map[string][]byte{}
	for _, p := range paths {
		e, ok := im.Lookup(p)
		if !ok || e.Type != fstree.Regular {
			return nil, fmt.Errorf("reading %q: is a %v", p, e.Type)
		}
		if limit -= e.Size; limit < 0 {
			return nil, fmt.Errorf("reading %q: too large", p)
		}
		got[p] = []byte(im.contents[e.Path])
	}
	return got, nil
}

// program makes an ELF file that needs libs; with libs or not, it has the
// interpreter if that is not "".
func program(machine elf.Machine, interp string, libs ...string) string {
	const headers, interpOff, strOff, dynOff, secOff = 64, 0x200, 0x400, 0x800, 0xc00
	strtab := "\x00" + strings.Join(libs, "\x00") + "\x00"
	b := make([]byte, secOff)
	le := binary.LittleEndian
	var h bytes.Buffer
	hdr := elf.Header64{Type: uint16(elf.ET_DYN), Machine: uint16(machine), Version: 1, Phoff: headers, Shoff: secOff, Ehsize: 64, Phentsize: 56, Shentsize: 64, Shnum: 4, Shstrndx: 3}
	copy(hdr.Ident[:], "\x7fELF\x02\x01\x01")
	if interp != "" {
		hdr.Phnum = 1
	}
	binary.Write(&h, le, hdr)
	binary.Write(&h, le, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: interpOff, Filesz: uint64(len(interp) + 1)})
	copy(b, h.Bytes())
	copy(b[interpOff:], interp)
	copy(b[strOff:], strtab)
	var dyn bytes.Buffer
	for off, i := 1, 0; i < len(libs); i++ {
		binary.Write(&dyn, le, elf.Dyn64{Tag: int64(elf.DT_NEEDED), Val: uint64(off)})
		off += len(libs[i]) + 1
	}
	binary.Write(&dyn, le, elf.Dyn64{})
	copy(b[dynOff:], dyn.Bytes())
	names := "\x00.dynstr\x00.dynamic\x00.shstrtab\x00"
	const namesOff = 0x600
	copy(b[namesOff:], names)
	var s bytes.Buffer
	for _, sec := range []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_STRTAB), Off: strOff, Size: uint64(len(strtab))},
		{Name: 9, Type: uint32(elf.SHT_DYNAMIC), Off: dynOff, Size: uint64(dyn.Len()), Link: 1, Entsize: 16},
		{Name: 18, Type: uint32(elf.SHT_STRTAB), Off: namesOff, Size: uint64(len(names))},
	} {
		binary.Write(&s, le, sec)
	}
	return string(append(b, s.Bytes()...))
}

// bzImage makes the start of an x86 kernel that calls itself release.
func bzImage(release string) string {
	b := make([]byte, 0x800)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00\x64\x86")
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x20e:], 0x300)
	copy(b[0x500:], release+" (builder@example) #1 SMP\x00")
	return string(b)
}
