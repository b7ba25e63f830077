package inflate_test

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"

	"github.com/abupdate/abupdate/internal/inflate"
)

// reads are the lengths of the buffers that are read into.
var reads = []int{1, 100, 4 << 10, 5000, 64 << 10, 300_000}

// read reads one member to its end with buffers of n bytes.
func read(r io.Reader, n int) ([]byte, error) {
	z, err := inflate.NewReader(bufio.NewReaderSize(r, 512))
	if err != nil {
		return nil, err
	}
	return readAll(z, n)
}

func readAll(r io.Reader, n int) ([]byte, error) {
	var all []byte
	for buf := make([]byte, n); ; {
		m, err := r.Read(buf)
		all = append(all, buf[:m]...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

func noise(n int) []byte {
	rnd := rand.New(rand.NewPCG(1, uint64(n)))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return b
}

// text has matches at all distances that a window allows, and beyond.
func text(n int) []byte {
	rnd := rand.New(rand.NewPCG(2, uint64(n)))
	var b []byte
	for len(b) < n {
		if back := 1 + int(rnd.ExpFloat64()*3000); back < len(b) && rnd.IntN(3) > 0 {
			for range min(3+int(rnd.ExpFloat64()*20), n-len(b)) {
				b = append(b, b[len(b)-back])
			}
			continue
		}
		b = append(b, "etaoin shrdlu\n"[rnd.IntN(14)]+byte(rnd.IntN(2)*rnd.IntN(40)))
	}
	return b
}

func compress(t testing.TB, b []byte, level int) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, level)
	if err == nil {
		_, err = z.Write(b)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestRead(t *testing.T) {
	for name, content := range map[string][]byte{
		"nothing": nil, "a byte": {7}, "noise": noise(200_000), "text": text(300_000), "zeros": make([]byte, 300_000),
		"one pair": bytes.Repeat([]byte{1, 2}, 70_000), "periods": periods(), "mixed": append(append(noise(70_000), text(70_000)...), make([]byte, 70_000)...),
	} {
		for _, level := range []int{gzip.HuffmanOnly, gzip.NoCompression, 1, 6, 9} {
			packed := compress(t, content, level)
			for _, n := range reads {
				for _, slow := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
					got, err := read(slow(bytes.NewReader(packed)), n)
					if err != nil || !bytes.Equal(got, content) {
						t.Fatalf("%s at level %d, read by %d bytes: %d bytes, %v; want %d bytes", name, level, n, len(got), err, len(content))
					}
				}
			}
		}
	}
}

// periods has runs of short periods, of all lengths.
func periods() []byte {
	var b []byte
	for period := 1; period < 20; period++ {
		for length := range 60 {
			b = append(b, noise(period)...)
			for range length {
				b = append(b, b[len(b)-period])
			}
		}
	}
	return b
}

// TestMembers leaves the source behind the trailer, whatever follows.
func TestMembers(t *testing.T) {
	first, second := text(100_000), text(50)
	r := bufio.NewReader(bytes.NewReader(append(append(compress(t, first, 6), compress(t, second, 6)...), "rest"...)))
	z, err := inflate.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]byte{first, second} {
		if got, err := readAll(z, 1<<16); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("member %d: %d bytes, %v; want %d bytes", i, len(got), err, len(want))
		}
		if n, err := z.Read(make([]byte, 10)); n != 0 || err != io.EOF {
			t.Errorf("another Read = %d, %v; want EOF again", n, err)
		}
		if i == 0 {
			if err := z.Reset(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "rest" {
		t.Errorf("behind the members: %q, %v", rest, err)
	}
}

// A match may not reach into the member before.
func TestMembersAreAlone(t *testing.T) {
	// A stored block of 3 bytes; then, in codes that are fixed, a match of 3 bytes at a distance of 1.
	first := member([]byte{1, 3, 0, 0xfc, 0xff, 'a', 'b', 'c'}, []byte("abc"))
	second := member([]byte{0x03, 0x02, 0x00}, []byte("ccc"))
	r := bufio.NewReader(bytes.NewReader(append(first, second...)))
	z, err := inflate.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(z, 1<<16); err != nil || string(got) != "abc" {
		t.Fatalf("first member: %q, %v", got, err)
	}
	if err := z.Reset(r); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(z, 1<<16); !errors.Is(err, inflate.ErrCorrupt) {
		t.Errorf("second member: %q, %v; want ErrCorrupt", got, err)
	}
}

// member is a gzip member of a deflate stream.
func member(deflated, content []byte) []byte {
	b := append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, deflated...)
	for _, v := range []uint32{crc32.ChecksumIEEE(content), uint32(len(content))} {
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	return b
}

func TestHeader(t *testing.T) {
	content := []byte("content")
	plain := compress(t, content, 6)
	deflated := plain[10:]
	fields := func(flags byte, rest ...byte) []byte {
		b := append([]byte{0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3}, rest...)
		if flags&2 != 0 {
			sum := crc32.ChecksumIEEE(b)
			b = append(b, byte(sum), byte(sum>>8))
		}
		return append(b, deflated...)
	}
	long := append([]byte(strings.Repeat("n", 2000)), 0)
	wrongSum := fields(2)
	wrongSum[10]++
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", fields(0), nil},
		{"all", fields(0x1f, 2, 0, 'x', 'y', 'n', 0, 'c', 0), nil},
		{"long name", fields(8, long...), nil},
		{"long extra field", fields(4, append([]byte{0xd1, 7}, long...)...), nil},
		{"checksum", fields(2), nil},
		{"wrong checksum", wrongSum, inflate.ErrCorrupt},
		{"magic", append([]byte{0x1f, 0x8c}, plain[2:]...), inflate.ErrCorrupt},
		{"method", append([]byte{0x1f, 0x8b, 7}, plain[3:]...), inflate.ErrCorrupt},
		{"end in the name", fields(8)[:11], io.ErrUnexpectedEOF},
		{"end in the extra field", fields(4, 0xff, 0xff), io.ErrUnexpectedEOF},
		{"empty", nil, io.ErrUnexpectedEOF},
	} {
		got, err := read(bytes.NewReader(tt.b), 1<<16)
		if !errors.Is(err, tt.want) || err == nil && !bytes.Equal(got, content) {
			t.Errorf("%s: %q, %v; want %v", tt.name, got, err, tt.want)
		}
	}
}

// TestCut ends a stream at every byte.
func TestCut(t *testing.T) {
	failed := errors.New("failed")
	for _, level := range []int{gzip.HuffmanOnly, 0, 6} {
		packed := compress(t, text(3000), level)
		for n := range packed {
			if _, err := read(bytes.NewReader(packed[:n]), 1<<16); err != io.ErrUnexpectedEOF {
				t.Fatalf("level %d, %d of %d bytes: %v; want an unexpected EOF", level, n, len(packed), err)
			}
			if _, err := read(io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(failed)), 1<<16); err != failed {
				t.Fatalf("level %d, a source that fails after %d bytes: %v", level, n, err)
			}
		}
	}
}

func TestTrailer(t *testing.T) {
	packed := compress(t, text(3000), 6)
	for i := range 8 {
		bad := bytes.Clone(packed)
		bad[len(bad)-1-i]++
		if _, err := read(bytes.NewReader(bad), 1<<16); !errors.Is(err, inflate.ErrCorrupt) {
			t.Errorf("byte %d from the end is another: %v; want ErrCorrupt", i, err)
		}
	}
}

// compare reads a deflate stream here and with the standard library.
func compare(b []byte, n int) error {
	const most = 1 << 20 // of a bomb
	left := bytes.NewReader(b)
	want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(left), most))
	if wantErr == nil && len(want) < most {
		b = b[:len(b)-left.Len()]
	}
	got, err := read(bytes.NewReader(member(b, want)), n)
	if wantErr == nil && len(want) == most {
		got, err = got[:min(len(got), most)], nil
	}
	if (err == nil) != (wantErr == nil) {
		return fmt.Errorf("%d bytes, %v; the standard library reads %d, %v", len(got), err, len(want), wantErr)
	}
	if common := min(len(got), len(want)); err == nil && len(got) != len(want) || !bytes.Equal(got[:common], want[:common]) {
		return fmt.Errorf("%d bytes that are not the %d that the standard library reads", len(got), len(want))
	}
	return nil
}

// TestDamaged changes bits of streams.
func TestDamaged(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for _, level := range []int{gzip.HuffmanOnly, 0, 1, 9} {
		packed := deflated(t, append(text(5000), noise(500)...), level)
		for range 2000 {
			bad := bytes.Clone(packed)
			for range 1 + rnd.IntN(3) {
				bad[rnd.IntN(1+rnd.IntN(len(bad)))] ^= 1 << rnd.IntN(8)
			}
			if err := compare(bad, 1<<16); err != nil {
				t.Fatalf("level %d: %v", level, err)
			}
		}
	}
}

// deflated is what compress makes without header and trailer.
func deflated(t testing.TB, b []byte, level int) []byte {
	packed := compress(t, b, level)
	return packed[10 : len(packed)-8]
}

func FuzzDeflate(f *testing.F) {
	for _, level := range []int{gzip.HuffmanOnly, 0, 1, 6} {
		f.Add(deflated(f, text(500), level), 1<<16)
		f.Add(deflated(f, make([]byte, 5000), level), 100)
	}
	f.Add([]byte{0x03, 0x00}, 100)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if err := compare(b, 1+n&0xffff); err != nil {
			t.Error(err)
		}
	})
}
