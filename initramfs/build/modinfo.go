package build

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// maxModule bounds a decompressed module; the largest of a Debian kernel is
// 10 MB.
const maxModule = 64 << 20

// A modinfo holds what a module says it needs, in canonical names.
type modinfo struct {
	depends   []string
	pre, post []string // soft dependencies
}

func (m modinfo) all() []string { return slices.Concat(m.pre, m.depends, m.post) }

// readModinfo parses the module's .modinfo section: NUL-terminated key=value
// strings.
func readModinfo(ko []byte) (modinfo, error) {
	f, err := elf.NewFile(bytes.NewReader(ko))
	if err != nil {
		return modinfo{}, fmt.Errorf("parsing ELF: %w", err)
	}
	sec := f.Section(".modinfo")
	if sec == nil {
		return modinfo{}, errors.New("no .modinfo section")
	}
	raw, err := sec.Data()
	if err != nil {
		return modinfo{}, fmt.Errorf("reading .modinfo: %w", err)
	}
	var m modinfo
	for s := range bytes.SplitSeq(raw, []byte{0}) {
		key, value, _ := strings.Cut(string(s), "=")
		switch key {
		case "depends":
			for d := range strings.SplitSeq(value, ",") {
				if d != "" {
					m.depends = append(m.depends, canonical(d))
				}
			}
		case "softdep":
			m.addSoft(value)
		}
	}
	return m, nil
}

// addSoft parses "pre: a b post: c".
func (m *modinfo) addSoft(value string) {
	var to *[]string
	for word := range strings.FieldsSeq(value) {
		switch {
		case word == "pre:":
			to = &m.pre
		case word == "post:":
			to = &m.post
		case to != nil:
			*to = append(*to, canonical(word))
		}
	}
}

func decompress(name string, b []byte) ([]byte, error) {
	var r io.Reader = bytes.NewReader(b)
	var err error
	switch {
	case strings.HasSuffix(name, ".xz"):
		r, err = xz.NewReader(r)
	case strings.HasSuffix(name, ".gz"):
		r, err = gzip.NewReader(r)
	case strings.HasSuffix(name, ".zst"):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1)); err == nil {
			defer d.Close()
			r = d
		}
	default:
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	if len(out) > maxModule {
		return nil, fmt.Errorf("decompressing: more than %d bytes", maxModule)
	}
	return out, nil
}

// FromFS returns the ModuleSource of an unpacked module folder.
func FromFS(fsys fs.FS) ModuleSource { return fsSource{fsys} }

type fsSource struct{ fsys fs.FS }

// Names lists with ReadDir alone: go-diskfs's squashfs cannot open or stat a
// directory, which fs.WalkDir does.
func (s fsSource) Names() ([]string, error) {
	var names []string
	for todo := []string{"."}; len(todo) > 0; {
		dir := todo[0]
		todo = todo[1:]
		entries, err := fs.ReadDir(s.fsys, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			p := path.Join(dir, e.Name())
			switch {
			case e.IsDir():
				todo = append(todo, p)
			case e.Type().IsRegular():
				names = append(names, p)
			}
		}
	}
	return names, nil
}

func (s fsSource) Read(names []string) (map[string][]byte, error) {
	got := make(map[string][]byte, len(names))
	for _, n := range names {
		b, err := fs.ReadFile(s.fsys, n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		got[n] = b
	}
	return got, nil
}
