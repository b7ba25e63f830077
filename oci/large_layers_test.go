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

// debianName is like the names of a Debian system: 50 bytes on average, some
// eight to a directory.
func debianName(i int) string {
	return fmt.Sprintf("usr/share/doc/package-%d/topic-%d/file-%07d.txt", i/200, i/8, i)
}

// filesLayer is one layer of n files.
func filesLayer(n int, name func(i int) string) func(t *testing.T) [][]byte {
	return func(t *testing.T) [][]byte {
		return [][]byte{zstdTar(t, func(w io.Writer) { writeFiles(t, w, n, name) })}
	}
}

func oneDirectory(i int) string { return fmt.Sprintf("d/%016x", uint64(i)*0x9e3779b97f4a7c15) }

// staircase is 127 layers of n files, each of which hides half of the files of
// the layer below.
func staircase(n int) func(t *testing.T) [][]byte {
	return func(t *testing.T) [][]byte {
		var layers [][]byte
		for l := range 127 {
			layers = append(layers, zstdTar(t, func(w io.Writer) {
				writeFiles(t, w, n, func(i int) string { return debianName(l*n/2 + i) })
			}))
		}
		return layers
	}
}

// itemsLayer is one layer of n items; they are written one by one, as a
// million of some would not fit into memory.
func itemsLayer(n int, make func(i int) item) func(t *testing.T) [][]byte {
	return func(t *testing.T) [][]byte {
		return [][]byte{zstdTar(t, func(w io.Writer) {
			for i := range n {
				b := tarOf(t, make(i))
				_, _ = w.Write(b[:len(b)-1024])
			}
		})}
	}
}

func longName(i int) item {
	dirs := strings.Repeat(strings.Repeat("d", 255)+"/", 10)
	return file(fmt.Sprintf("%s%0255d", dirs, i), "x", format(tar.FormatPAX))
}

func ownXattr(i int) item {
	return file(fmt.Sprint(i), "x", xattr("user.large", fmt.Sprintf("%0*d", 64<<10, i)))
}

func sharedXattr(i int) item {
	return file(fmt.Sprint(i), "x", xattr("user.large", strings.Repeat("x", 64<<10)))
}

func sparseLayer(format string) func(t *testing.T) [][]byte {
	return func(t *testing.T) [][]byte { return [][]byte{sparseTar(t, format)} }
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
	for ; n > 0; n -= blockBytes {
		header := uint32(blockBytes<<3 | rle<<1)
		if n <= blockBytes {
			header |= 1 // the last one
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return b
}
