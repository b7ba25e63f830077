package oci_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdTar writes a tar by fn and keeps it compressed.
func zstdTar(t testing.TB, fn func(w io.Writer)) []byte {
	t.Helper()
	var out bytes.Buffer
	zw, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	fn(zw)
	if _, err := zw.Write(make([]byte, 1024)); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// writeFiles writes many files of one byte faster than archive/tar can.
func writeFiles(t testing.TB, w io.Writer, n int, name func(i int) string) {
	t.Helper()
	block := tarOf(t, file(strings.Repeat("n", 100), "x"))[:1024]
	const sumOff, sumLen = 148, 8
	for i := range n {
		clear(block[:100])
		if m := copy(block, name(i)); m == 100 {
			t.Fatalf("name %q is too long for this test", name(i))
		}
		copy(block[sumOff:], "        ")
		var sum int
		for _, b := range block[:512] {
			sum += int(b)
		}
		copy(block[sumOff:sumOff+sumLen], fmt.Sprintf("%06o\x00 ", sum))
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
}

// A counter takes contents and counts them.
type counter struct {
	files int
	bytes int64
	buf   [1 << 20]byte
}

func (c *counter) File(_ string, size int64, r io.Reader) (fstree.Content, error) {
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, c.buf[:])
	if err == nil && n != size {
		err = fmt.Errorf("content has %d bytes; want %d", n, size)
	}
	c.files++
	c.bytes += n
	return fstree.Content(c.files), err
}

// debianName is like the names of a Debian system: 50 bytes on average, some
// eight to a directory.
func debianName(i int) string {
	return fmt.Sprintf("usr/share/doc/package-%d/topic-%d/file-%07d.txt", i/200, i/8, i)
}

// TestPeakMemory states how much memory Read needs at most, for images at
// the edge of what there is.
func TestPeakMemory(t *testing.T) {
	for _, tt := range []struct {
		name   string
		layers func(t *testing.T) [][]byte
		opt    oci.Options
		files  int
		bytes  int64 // 0: as many as files
		peak   int64 // bytes of heap
		want   string
		kind   fault.Kind
	}{
		{name: "200,000 entries", files: 200_000, peak: 35 << 20, layers: func(t *testing.T) [][]byte {
			return [][]byte{zstdTar(t, func(w io.Writer) { writeFiles(t, w, 200_000, debianName) })}
		}},
		{name: "1,000,000 entries", files: 1_000_000, peak: 150 << 20, layers: func(t *testing.T) [][]byte {
			return [][]byte{zstdTar(t, func(w io.Writer) { writeFiles(t, w, 1_000_000, debianName) })}
		}},
		{name: "one directory of 200,000", files: 200_000, peak: 30 << 20, layers: func(t *testing.T) [][]byte {
			return [][]byte{zstdTar(t, func(w io.Writer) {
				writeFiles(t, w, 200_000, func(i int) string { return fmt.Sprintf("d/%016x", uint64(i)*0x9e3779b97f4a7c15) })
			})}
		}},
		{name: "127 layers of 1,000 entries, each hiding half of the one below", files: 127 * 1000, peak: 28 << 20, layers: func(t *testing.T) [][]byte {
			var layers [][]byte
			for l := range 127 {
				layers = append(layers, zstdTar(t, func(w io.Writer) {
					writeFiles(t, w, 1000, func(i int) string { return fmt.Sprintf("dir-%d/file-%06d", i%17, 500*l+i) })
				}))
			}
			return layers
		}},
		{name: "names of 255 bytes, ten deep", files: 2000, peak: 8 << 20, layers: func(t *testing.T) [][]byte {
			var items []item
			for i := range 2000 {
				items = append(items, file(fmt.Sprintf("%s%0255d", strings.Repeat(strings.Repeat("d", 255)+"/", 10), i), "x", format(tar.FormatPAX)))
			}
			return [][]byte{zstdTar(t, func(w io.Writer) { _, _ = w.Write(tarOf(t, items...)) })}
		}},
		{name: "100 extended attributes of 64 KiB", files: 100, peak: 24 << 20, layers: func(t *testing.T) [][]byte {
			var items []item
			for i := range 100 {
				items = append(items, file(fmt.Sprint(i), "x", xattr("user.large", fmt.Sprintf("%0*d", 64<<10, i))))
			}
			return [][]byte{zstdTar(t, func(w io.Writer) { _, _ = w.Write(tarOf(t, items...)) })}
		}},
		{name: "2,000 files that share an extended attribute of 64 KiB", files: 2000, peak: 8 << 20, layers: func(t *testing.T) [][]byte {
			return [][]byte{zstdTar(t, func(w io.Writer) {
				for i := range 2000 {
					b := tarOf(t, file(fmt.Sprint(i), "x", xattr("user.large", strings.Repeat("x", 64<<10))))
					_, _ = w.Write(b[:len(b)-1024])
				}
			})}
		}},
		{name: "10 GiB sparse, GNU", files: 1, bytes: 10 << 30, peak: 6 << 20, layers: func(t *testing.T) [][]byte { return [][]byte{sparseTar(t, "--format=gnu")} }},
		{name: "10 GiB sparse, PAX", files: 1, bytes: 10 << 30, peak: 6 << 20, layers: func(t *testing.T) [][]byte { return [][]byte{sparseTar(t, "--format=pax")} }},
		{name: "a sparse file that is larger than allowed", opt: oci.Options{Limits: oci.Limits{TotalBytes: 1 << 30}}, peak: 4 << 20,
			layers: func(t *testing.T) [][]byte { return [][]byte{sparseTar(t, "--format=pax")} }, want: "files have more than 1073741824 bytes", kind: fault.Refused},
		{name: "gzip bomb", opt: oci.Options{Limits: oci.Limits{LayerBytes: 64 << 20}}, peak: 4 << 20, layers: func(t *testing.T) [][]byte { return [][]byte{gzipBomb(t, 512<<20)} },
			want: "more than 67108864 bytes when decompressed", kind: fault.Refused},
		{name: "zstd bomb", opt: oci.Options{Limits: oci.Limits{LayerBytes: 64 << 20}}, peak: 6 << 20, layers: func(*testing.T) [][]byte { return [][]byte{zstdBomb(10, 1<<40)} },
			want: "more than 67108864 bytes when decompressed", kind: fault.Refused},
		{name: "zstd with a window of 2 GiB", peak: 4 << 20, layers: func(*testing.T) [][]byte { return [][]byte{zstdBomb(21, 1<<21)} },
			want: "window size exceeded", kind: fault.Verify},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := oci.MemoryImage(tt.opt, tt.layers(t)...)
			c := new(counter)
			var p *oci.Plan
			var err error
			peak := peakHeap(t, func() { p, err = oci.Read(t.Context(), img, c) })
			t.Logf("peak heap %.1f MB", float64(peak)/1e6)
			if peak > tt.peak {
				t.Errorf("peak heap is %d bytes; want at most %d", peak, tt.peak)
			}
			if tt.want != "" {
				wantError(t, err, tt.want, tt.kind)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.bytes == 0 {
				tt.bytes = int64(c.files)
			}
			if c.bytes != tt.bytes || p.Unused != 0 || p.SecondReads != 0 {
				t.Errorf("%d bytes were taken, %d unused, %d second reads; want %d, 0, 0", c.bytes, p.Unused, p.SecondReads, tt.bytes)
			}
		})
	}
}

// sparseTar is a file of 10 GiB with data at both ends, by the real tar.
func sparseTar(t *testing.T, format string) []byte {
	t.Helper()
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	_, first := f.WriteAt([]byte("first"), 0)
	_, last := f.WriteAt([]byte("last"), 10<<30-4)
	if err := errors.Join(first, last, f.Close()); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tar", "-C", dir, "--sparse", format, "-cf", "-", "sparse").Output()
	if err != nil {
		t.Fatalf("tar: %v", err)
	}
	return out
}

// gzipBomb has n zeros.
func gzipBomb(t *testing.T, n int64) []byte {
	t.Helper()
	var out bytes.Buffer
	zw, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	head := bombHead(t)
	if _, err := zw.Write(head); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for ; n > 0; n -= int64(len(zeros)) {
		if _, err := zw.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func bombHead(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Size: 1 << 30, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// zstdBomb is a frame of run-length blocks, 128 KiB of zeros in 4 bytes, that
// asks for a window of 2 to the power of 10+exponent (RFC 8878, section 3.1.1).
func zstdBomb(exponent byte, n int64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xfd2fb528)
	b = append(b, 0, exponent<<3)
	const rle, blockBytes = 1, 128 << 10
	for n = min(n, 1<<30); n > 0; n -= blockBytes {
		header := uint32(blockBytes<<3 | rle<<1)
		if n <= blockBytes {
			header |= 1 // the last one
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return b
}
