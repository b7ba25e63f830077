package unpack_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/abupdate/abupdate/initramfs/unpack"
)

// contents are what compressors treat differently, by name.
func contents() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 100_000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var text []byte
	for i := range 5_000 {
		text = fmt.Appendf(text, "symbol_%d depends on %d of them\n", i, r.IntN(100))
	}
	words := make([]byte, 60_000) // machine words: many zeros, little more
	for i := range len(words) / 8 {
		binary.LittleEndian.PutUint64(words[8*i:], uint64(r.IntN(1<<(r.IntN(20)+1))))
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	return map[string][]byte{
		"nothing": {}, "one byte": {7}, "a few bytes": []byte("abcabcabcd"), "zeros": make([]byte, 300_000),
		"noise": noise, "text": text, "words": words, "a program": program[:min(len(program), 200_000)],
		"noise twice": append(bytes.Clone(noise), noise...), "mixed": bytes.Join([][]byte{noise[:70_000], text, make([]byte, 5000), words, noise[:1000]}, nil),
	}
}

// tools are compressors as people call them; the first of each line is the
// kernel's own (scripts/Makefile.modinst).
var tools = map[string][][]string{
	".xz": {
		{"xz", "--check=crc32", "--lzma2=dict=1MiB"}, {"xz", "-0"}, {"xz", "-9", "-T1"}, {"xz", "-e", "--check=sha256"}, {"xz", "--check=none", "--block-size=100KiB"},
		{"xz", "--check=crc32", "--lzma2=lc=0,lp=4,pb=0,mode=fast"}, {"xz", "--check=crc64", "--lzma2=lc=4,lp=0,pb=4,nice=273"},
	},
	".gz":  {{"gzip", "-n"}, {"gzip", "-1"}, {"gzip", "-9"}},
	".zst": {{"zstd"}, {"zstd", "-1", "--no-check"}, {"zstd", "-19"}, {"zstd", "--fast=5"}},
}

// What the usual programs pack comes out as it was.
func TestTools(t *testing.T) {
	for name, content := range contents() {
		for ext, calls := range tools {
			for _, call := range calls {
				packed := run(t, content, call[0], append(call[1:len(call):len(call)], "-q", "-c")...)
				if call[0] == "gzip" && call[1] == "-9" { // with a name and an extra field
					packed = append([]byte("\x1f\x8b\x08\x0c\x00\x00\x00\x00\x00\x00\x02\x00xxa name\x00"), packed[10:]...)
				}
				got, err := unpack.File("a.ko"+ext, packed)
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s by %q: %d bytes, %v; want the %d that were packed", name, call, len(got), err, len(content))
				}
			}
		}
	}
}

// run returns what a program makes of its standard input.
func run(t testing.TB, in []byte, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v: it is in Debian's packages xz-utils and zstd", err)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return out
}

// Frames and blocks of other programs: of several in one file, with and
// without sizes.
func TestFrames(t *testing.T) {
	all := contents()
	var z, both bytes.Buffer
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedBestCompression} {
		for _, single := range []bool{false, true} {
			z.Reset()
			w, err := zstd.NewWriter(&z, zstd.WithEncoderLevel(level), zstd.WithSingleSegment(single), zstd.WithEncoderConcurrency(1))
			if err != nil {
				t.Fatal(err)
			}
			packed := w.EncodeAll(all["mixed"], nil)
			if got, err := unpack.File("a.zst", packed); err != nil || !bytes.Equal(got, all["mixed"]) {
				t.Errorf("level %v, single %v: %d bytes, %v", level, single, len(got), err)
			}
			both.Write(packed)
			both.WriteString("\x53\x2a\x4d\x18\x03\x00\x00\x00abc") // to be skipped
		}
	}
	if got, err := unpack.File("a.zst", both.Bytes()); err != nil || !bytes.Equal(got, bytes.Repeat(all["mixed"], 4)) {
		t.Errorf("four frames: %d bytes, %v", len(got), err)
	}
	var x bytes.Buffer
	w, err := xz.WriterConfig{CheckSum: xz.CRC32, BlockSize: 100_000}.NewWriter(&x)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(all["mixed"]); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	if got, err := unpack.File("a.xz", x.Bytes()); err != nil || !bytes.Equal(got, all["mixed"]) {
		t.Errorf("blocks of another program: %d bytes, %v", len(got), err)
	}
}

// What it cannot read is an error that says why.
func TestRefused(t *testing.T) {
	bomb := make([]byte, unpack.MaxBytes+1)
	huge := run(t, []byte("abc"), "xz", "-c")
	huge[16] = 37 // the block's one filter: LZMA2, one byte, this
	for name, tt := range map[string]struct {
		file, want string
		packed     []byte
	}{
		"gzip that is none":    {"a.ko.gz", "invalid header", []byte("ELF, and long enough for a header")},
		"a gzip too large":     {"a.ko.gz", "more than", run(t, bomb, "gzip", "-1", "-c")},
		"a gzip header's half": {"a.ko.gz", "ends early", []byte("\x1f\x8b\x08\x1c\x00\x00\x00\x00\x00\x00\x09\x00")},
		"a filter for x86":     {"a.ko.xz", "unsupported filter", run(t, []byte("abc"), "xz", "--x86", "--lzma2", "-c")},
		"an xz too large":      {"a.ko.xz", "more than", run(t, bomb, "xz", "-0", "-c")},
		"a zstd too large":     {"a.ko.zst", "more than", run(t, bomb, "zstd", "-q", "-1", "-c")},
		"a huge dictionary":    {"a.ko.xz", "a dictionary of 1610612736 bytes", huge},
		"xz that is none":      {"a.ko.xz", "no footer", []byte("ELF, and long enough for a header")},
		"zstd that is none":    {"a.ko.zst", "magic number", []byte("ELF, and long enough for a header")},
		"an empty xz file":     {"a.ko.xz", "no footer", nil},
		"an empty zstd file":   {"a.ko.zst", "ends early", nil},
		"a dictionary":         {"a.ko.zst", "dictionary", []byte("\x28\xb5\x2f\xfd\x21\x01\x00\x01\x00\x00")},
		"a zstd header's half": {"a.ko.zst", "ends early", []byte("\x28\xb5\x2f\xfd\xe0\x01\x00\x01")},
	} {
		if _, err := unpack.File(tt.file, tt.packed); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want an error with %q", name, err, tt.want)
		}
	}
	if b, err := unpack.File("a.ko", []byte("plain")); err != nil || string(b) != "plain" {
		t.Errorf("a plain file: %q, %v", b, err)
	}
}

// What is cut off, or has a bit flipped where a checksum or the structure tells,
// is not taken for the file.
func TestCut(t *testing.T) {
	content := contents()["mixed"]
	for ext, calls := range tools {
		packed := run(t, content, calls[0][0], append(calls[0][1:len(calls[0]):len(calls[0])], "-q", "-c")...)
		for _, n := range []int{1, 5, 12, 100, len(packed) / 2, len(packed) * 9 / 10} {
			if got, err := unpack.File("a"+ext, packed[:n]); err == nil {
				t.Errorf("%d of %d bytes of %s: %d bytes; want an error", n, len(packed), ext, len(got))
			}
		}
	}
	packed := run(t, content, "xz", "--check=crc32", "-c")
	for i := 13; i < len(packed)*9/10; i += 9973 {
		flipped := bytes.Clone(packed)
		flipped[i] ^= 4
		if got, err := unpack.File("a.xz", flipped); err == nil && !bytes.Equal(got, content) {
			t.Errorf("byte %d flipped: %d bytes came out; want an error", i, len(got))
		}
	}
}

// Nothing panics, or gives more than it may.
func FuzzUnpack(f *testing.F) {
	for _, content := range [][]byte{{}, []byte("abcabcabcabc"), contents()["text"][:3000], contents()["words"][:2000], contents()["noise"][:200]} {
		for ext, calls := range tools {
			for _, call := range calls {
				f.Add(ext, run(f, content, call[0], append(call[1:len(call):len(call)], "-q", "-c")...))
			}
		}
	}
	f.Fuzz(func(t *testing.T, ext string, packed []byte) {
		if got, _ := unpack.File(ext, packed); len(got) > max(unpack.MaxBytes, len(packed)) {
			t.Errorf("%d bytes come out; at most %d may", len(got), unpack.MaxBytes)
		}
	})
}

func BenchmarkUnpack(b *testing.B) {
	content, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	for ext, calls := range tools {
		packed := run(b, content, calls[0][0], append(calls[0][1:len(calls[0]):len(calls[0])], "-q", "-c")...)
		b.Run(ext[1:], func(b *testing.B) {
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := unpack.File(ext, packed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
