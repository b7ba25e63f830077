package build_test

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// ko makes a relocatable ELF object with nothing but a .modinfo section.
func ko(t testing.TB, modinfo ...string) []byte {
	t.Helper()
	info := []byte(strings.Join(modinfo, "\x00") + "\x00")
	names := []byte("\x00.modinfo\x00.shstrtab\x00")
	const head = 64
	h := elf.Header64{
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: head, Shentsize: 64, Shnum: 3, Shstrndx: 2,
		Shoff: uint64(head + len(info) + len(names)),
	}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: head, Size: uint64(len(info))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: uint64(head + len(info)), Size: uint64(len(names))},
	}
	var b bytes.Buffer
	for _, v := range []any{h, info, names, sections} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// folder makes a module folder: path (with compression by its extension) to
// .modinfo strings separated by "|"; modules.builtin is given as it is.
func folder(t testing.TB, files map[string]string) fstest.MapFS {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		data := []byte(text)
		if name != "modules.builtin" {
			data = compress(t, name, ko(t, strings.Split(text, "|")...))
		}
		fsys[name] = &fstest.MapFile{Data: data}
	}
	return fsys
}

func compress(t testing.TB, name string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var err error
	switch {
	case strings.HasSuffix(name, ".gz"):
		w := gzip.NewWriter(&out)
		w.Write(b) //nolint:errcheck // a buffer
		err = w.Close()
	case strings.HasSuffix(name, ".xz"):
		w, e := xz.NewWriter(&out)
		if e != nil {
			t.Fatal(e)
		}
		w.Write(b) //nolint:errcheck // a buffer
		err = w.Close()
	case strings.HasSuffix(name, ".zst"):
		w, e := zstd.NewWriter(&out)
		if e != nil {
			t.Fatal(e)
		}
		w.Write(b) //nolint:errcheck // a buffer
		err = w.Close()
	default:
		return b
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
