package build_test

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/initramfs/build"
)

const stubPath = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"

func stub(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(stubPath)
	if err != nil {
		t.Fatalf("%v; install the Debian package systemd-boot-efi", err)
	}
	return b
}

func ukiOptions() build.UKIOptions {
	return build.UKIOptions{
		Cmdline:   "console=ttyS0 panic=5",
		OSRelease: "ID=abupdate\nNAME=abupdate\n",
		Uname:     "6.1.0-test",
		Linux:     bytes.Repeat([]byte("kernel"), 10_001),
		Initrd:    bytes.Repeat([]byte("initrd"), 7_001),
	}
}

func uki(t testing.TB, opt build.UKIOptions) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := build.UKI(&b, stub(t), opt); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestUKIReadBack(t *testing.T) {
	want := ukiOptions()
	img := uki(t, want)
	got, err := build.ReadUKI(bytes.NewReader(img))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ReadUKI() mismatch (-want +got):\n%s", diff)
	}
	if again := uki(t, want); !bytes.Equal(img, again) {
		t.Error("UKI() wrote different bytes for the same input")
	}
}

// TestUKIHeaders checks what a PE loader relies on.
func TestUKIHeaders(t *testing.T) {
	img := uki(t, ukiOptions())
	f, err := pe.NewFile(bytes.NewReader(img))
	if err != nil {
		t.Fatal(err)
	}
	orig, err := pe.NewFile(bytes.NewReader(stub(t)))
	if err != nil {
		t.Fatal(err)
	}
	opt := f.OptionalHeader.(*pe.OptionalHeader64)
	if opt.CheckSum != 0 || opt.DataDirectory[4].Size != 0 || f.PointerToSymbolTable != 0 {
		t.Errorf("checksum %d, certificates %d, symbols %d; want all 0", opt.CheckSum, opt.DataDirectory[4].Size, f.PointerToSymbolTable)
	}
	var vma, off uint32
	for i, s := range f.Sections {
		if i >= len(orig.Sections) && (s.VirtualAddress%4096 != 0 || s.Offset%opt.FileAlignment != 0 || s.Size%opt.FileAlignment != 0) {
			t.Errorf("section %s at %#x, file %#x+%#x is not aligned to pages and %#x", s.Name, s.VirtualAddress, s.Offset, s.Size, opt.FileAlignment)
		}
		if s.VirtualAddress < vma || s.Offset < off {
			t.Errorf("section %s at %#x, file %#x overlaps the one before", s.Name, s.VirtualAddress, s.Offset)
		}
		vma, off = s.VirtualAddress+s.VirtualSize, s.Offset+s.Size
		if i >= len(orig.Sections) && s.Characteristics != 0x40000040 {
			t.Errorf("section %s has flags %#x; want initialized, readable data", s.Name, s.Characteristics)
		}
	}
	if want := (vma + 4095) &^ 4095; opt.SizeOfImage != want {
		t.Errorf("SizeOfImage = %#x; want %#x", opt.SizeOfImage, want)
	}
	if int(off) != len(img) {
		t.Errorf("last section ends at %d; file has %d bytes", off, len(img))
	}
	if n := len(f.Sections); f.Sections[n-1].Name != ".linux" || n != len(orig.Sections)+5 {
		t.Errorf("%d sections, last %s; want %d and .linux", n, f.Sections[n-1].Name, len(orig.Sections)+5)
	}
}

// TestUKIOracle asks binutils for the sections and one section's content.
func TestUKIOracle(t *testing.T) {
	opt := ukiOptions()
	file := filepath.Join(t.TempDir(), "uki.efi")
	if err := os.WriteFile(file, uki(t, opt), 0o644); err != nil {
		t.Fatal(err)
	}
	out := string(pipe(t, nil, "objdump", "-h", file))
	for _, name := range []string{".osrel", ".cmdline", ".uname", ".initrd", ".linux", ".text", ".sdmagic"} {
		if !strings.Contains(out, name) {
			t.Errorf("objdump -h does not list %s:\n%s", name, out)
		}
	}
	initrd := filepath.Join(t.TempDir(), "initrd")
	pipe(t, nil, "objcopy", "-O", "binary", "--only-section=.initrd", file, initrd)
	got, err := os.ReadFile(initrd)
	if err != nil {
		t.Fatal(err)
	}
	// objcopy writes the section as it lies in the file, with its padding.
	if !bytes.HasPrefix(got, opt.Initrd) {
		t.Errorf("objcopy's .initrd has %d bytes that differ from the %d written", len(got), len(opt.Initrd))
	}
}

func TestUKIRefuses(t *testing.T) {
	good := stub(t)
	patch := func(off int, v uint32) []byte {
		b := bytes.Clone(good)
		binary.LittleEndian.PutUint32(b[off:], v)
		return b
	}
	pe := int(binary.LittleEndian.Uint32(good[0x3c:]))
	for name, bad := range map[string][]byte{
		"empty":               nil,
		"not MZ":              []byte(strings.Repeat("x", 4096)),
		"PE offset outside":   patch(0x3c, 0x7fffffff),
		"PE32":                patch(pe+24, 0x10b),
		"file alignment 3":    patch(pe+24+36, 3),
		"truncated":           good[:len(good)/2],
		"no room for headers": crowded(good),
		"sections of nothing": hollow(good),
	} {
		err := build.UKI(&bytes.Buffer{}, bad, ukiOptions())
		if !errors.Is(err, build.ErrStub) {
			t.Errorf("%s: UKI() = %v; want ErrStub", name, err)
		}
	}
	noKernel := ukiOptions()
	noKernel.Linux = nil
	if err := build.UKI(&bytes.Buffer{}, good, noKernel); err == nil {
		t.Error("UKI() without a kernel = nil; want an error")
	}
	if _, err := build.ReadUKI(bytes.NewReader(good)); err == nil {
		t.Error("ReadUKI() of a bare stub = nil; want an error")
	}
	if _, err := build.ReadUKI(bytes.NewReader([]byte("MZ"))); err == nil {
		t.Error("ReadUKI() of two bytes = nil; want an error")
	}
}

// hollow returns the stub with nothing in its sections.
func hollow(stub []byte) []byte {
	b := bytes.Clone(stub)
	le := binary.LittleEndian
	pe := int(le.Uint32(b[0x3c:]))
	for table, i := pe+24+int(le.Uint16(b[pe+20:])), 0; i < int(le.Uint16(b[pe+6:])); i++ {
		le.PutUint64(b[table+i*40+16:], 0) // length and place
	}
	return b
}

// crowded returns the stub with so many sections that no header fits any more.
func crowded(stub []byte) []byte {
	b := bytes.Clone(stub)
	le := binary.LittleEndian
	pe := int(le.Uint32(b[0x3c:]))
	table := pe + 24 + int(le.Uint16(b[pe+20:]))
	first := int(le.Uint32(b[pe+24+60:]))
	n := (first - table) / 40
	for i := int(le.Uint16(b[pe+6:])); i < n; i++ {
		copy(b[table+i*40:][:40], b[table:][:40])
	}
	le.PutUint16(b[pe+6:], uint16(n))
	return b
}

func FuzzUKI(f *testing.F) {
	good := stub(f)
	f.Add(good[:4096])
	f.Add(good)
	opt := build.UKIOptions{Linux: []byte("linux"), Initrd: []byte("initrd")}
	f.Fuzz(func(t *testing.T, stub []byte) {
		var b bytes.Buffer
		if build.UKI(&b, stub, opt) != nil {
			return
		}
		build.ReadUKI(bytes.NewReader(b.Bytes())) //nolint:errcheck // must not panic
	})
}
