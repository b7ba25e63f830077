package build

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrStub is wrapped by errors about an EFI stub that cannot carry a kernel.
var ErrStub = errors.New("not a usable EFI stub")

// UKIOptions are the parts of a unified kernel image, and what ReadUKI finds
// in one.
type UKIOptions struct {
	Cmdline   string
	OSRelease string // the text of an os-release file
	Uname     string // kernel release
	Linux     []byte
	Initrd    []byte
}

// Section flags: initialized data, readable.
const sectionFlags = 0x40000040

// UKI writes a unified kernel image: stub with the parts appended as PE
// sections, in the order and alignment that systemd-stub's own tool uses
// (.linux last). The checksum field is zero, as in every unsigned UKI.
func UKI(w io.Writer, stub []byte, opt UKIOptions) error {
	if len(opt.Linux) == 0 || len(opt.Initrd) == 0 {
		return errors.New("writing UKI: no kernel or no initrd")
	}
	p, err := parsePE(stub)
	if err != nil {
		return fmt.Errorf("writing UKI: %w", err)
	}
	parts := []struct {
		name string
		data []byte
	}{
		{".osrel", []byte(opt.OSRelease)},
		{".cmdline", []byte(opt.Cmdline)},
		{".uname", []byte(opt.Uname)},
		{".initrd", opt.Initrd},
		{".linux", opt.Linux},
	}
	var out [][]byte
	out = append(out, p.image)
	for _, s := range parts {
		if len(s.data) == 0 {
			continue
		}
		raw, err := p.addSection(s.name, len(s.data))
		if err != nil {
			return fmt.Errorf("writing UKI: %w", err)
		}
		out = append(out, s.data, make([]byte, raw-len(s.data)))
	}
	p.finish()
	for _, b := range out {
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("writing UKI: %w", err)
		}
	}
	return nil
}

// peStub is a PE32+ image whose headers are patched in place. Offsets are
// from the PE/COFF specification, section 3 and 4.
type peStub struct {
	image     []byte // headers and raw sections, padded to fileAlign
	coff      int    // offset of the COFF header
	opt       int    // offset of the optional header
	table     int    // offset of the section table
	headerEnd int    // first byte that belongs to a section
	fileAlign int
	vmaAlign  int
	nextFile  int
	nextVMA   int
}

func parsePE(stub []byte) (*peStub, error) {
	bad := func(what string) (*peStub, error) { return nil, fmt.Errorf("%w: %s", ErrStub, what) }
	if len(stub) < 0x40 || string(stub[:2]) != "MZ" {
		return bad("no MZ header")
	}
	le := binary.LittleEndian
	pe := int(le.Uint32(stub[0x3c:]))
	if pe < 0 || pe > len(stub)-24-112 || string(stub[pe:pe+4]) != "PE\x00\x00" {
		return bad("no PE header")
	}
	p := &peStub{coff: pe + 4, opt: pe + 24}
	if le.Uint16(stub[p.opt:]) != 0x20b {
		return bad("not PE32+")
	}
	p.table = p.opt + int(le.Uint16(stub[p.coff+16:]))
	n := int(le.Uint16(stub[p.coff+2:]))
	p.vmaAlign, p.fileAlign = int(le.Uint32(stub[p.opt+32:])), int(le.Uint32(stub[p.opt+36:]))
	p.headerEnd = int(le.Uint32(stub[p.opt+60:]))
	if n == 0 || p.table+n*40 > len(stub) || p.headerEnd > len(stub) || !align(p.vmaAlign) || !align(p.fileAlign) {
		return bad("section table or alignment out of range")
	}
	for i := range n {
		s := stub[p.table+i*40:][:40]
		vsize, vma := int(le.Uint32(s[8:])), int(le.Uint32(s[12:]))
		size, off := int(le.Uint32(s[16:])), int(le.Uint32(s[20:]))
		if off+size > len(stub) {
			return bad(fmt.Sprintf("section %d ends behind the file", i))
		}
		if size > 0 {
			p.headerEnd = min(p.headerEnd, off)
		}
		p.nextFile = max(p.nextFile, off+size)
		p.nextVMA = max(p.nextVMA, vma+max(vsize, size))
	}
	if p.nextFile < max(p.opt+112, p.table+n*40) {
		return bad("its sections end within the headers")
	}
	// What follows the sections (symbols, a signature) is left behind: it
	// would not be valid any more.
	end := up(p.nextFile, p.fileAlign)
	p.image = make([]byte, end)
	copy(p.image, stub[:p.nextFile])
	// systemd 252's stub declares 512 bytes, which no loader needs: the new
	// sections lie on pages, as its own tools put them.
	p.vmaAlign = max(p.vmaAlign, 4096)
	p.nextFile, p.nextVMA = end, up(p.nextVMA, p.vmaAlign)
	return p, nil
}

func align(n int) bool { return n >= 512 && n <= 1<<20 && n&(n-1) == 0 }

func up(n, to int) int { return (n + to - 1) &^ (to - 1) }

// addSection writes a header for size bytes and returns how many the section
// takes in the file.
func (p *peStub) addSection(name string, size int) (int, error) {
	le := binary.LittleEndian
	n := int(le.Uint16(p.image[p.coff+2:]))
	at := p.table + n*40
	if at+40 > p.headerEnd {
		return 0, fmt.Errorf("%w: no room for section %s in its header", ErrStub, name)
	}
	raw := up(size, p.fileAlign)
	if int64(p.nextVMA)+int64(raw) > 1<<31 {
		return 0, fmt.Errorf("section %s of %d bytes makes the image larger than 2 GiB", name, size)
	}
	h := p.image[at:][:40]
	clear(h)
	copy(h[:8], name)
	le.PutUint32(h[8:], uint32(size))
	le.PutUint32(h[12:], uint32(p.nextVMA))
	le.PutUint32(h[16:], uint32(raw))
	le.PutUint32(h[20:], uint32(p.nextFile))
	le.PutUint32(h[36:], sectionFlags)
	le.PutUint16(p.image[p.coff+2:], uint16(n+1))
	data := p.image[p.opt+8:] // SizeOfInitializedData
	le.PutUint32(data, le.Uint32(data)+uint32(raw))
	p.nextFile += raw
	p.nextVMA = up(p.nextVMA+size, p.vmaAlign)
	return raw, nil
}

// finish sets the fields that depend on the whole image.
func (p *peStub) finish() {
	le := binary.LittleEndian
	le.PutUint64(p.image[p.coff+8:], 0)                 // symbol table: pointer and count
	le.PutUint32(p.image[p.opt+56:], uint32(p.nextVMA)) // SizeOfImage
	le.PutUint32(p.image[p.opt+64:], 0)                 // CheckSum
	if dirs := le.Uint32(p.image[p.opt+108:]); dirs > 4 && p.opt+112+5*8 <= p.table {
		le.PutUint64(p.image[p.opt+112+4*8:], 0) // certificate table
	}
}
