package verity_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/verity"
)

func mustBuild(t testing.TB, data []byte, p verity.Params) *verity.Tree {
	t.Helper()
	tree, err := verity.Build(bytes.NewReader(data), int64(len(data)), p)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// A Builder gives the same tree however its writes are cut.
func TestBuilderChunks(t *testing.T) {
	data := randomBlocks(700, 1)
	want := encode(t, mustBuild(t, data, verity.DefaultParams()))
	rnd := rand.New(rand.NewPCG(3, 4))
	for name, chunk := range map[string]func() int{
		"single bytes, then everything": func() int { return 1 + rnd.IntN(2)*len(data) },
		"blocks":                        func() int { return verity.BlockSize },
		"batches and a bit":             func() int { return 256<<10 + 1 },
		"any size":                      func() int { return 1 + rnd.IntN(600<<10) },
		"all at once":                   func() int { return len(data) },
	} {
		t.Run(name, func(t *testing.T) {
			b := verity.NewBuilder(verity.DefaultParams())
			for rest := data[verity.BlockSize:]; len(rest) > 0; {
				n := min(chunk(), len(rest))
				scratch := bytes.Clone(rest[:n])
				if got, err := b.Write(scratch); got != n || err != nil {
					t.Fatalf("Write(%d bytes) = %d, %v", n, got, err)
				}
				clear(scratch) // a Writer must not keep what it was given
				rest = rest[n:]
			}
			if err := b.WriteFirst(data[:verity.BlockSize]); err != nil {
				t.Fatal(err)
			}
			tree, err := b.Finish()
			if err != nil {
				t.Fatal(err)
			}
			if got := encode(t, tree); !bytes.Equal(got, want) {
				t.Errorf("tree differs from Build's at byte %d", firstDifference(got, want))
			}
		})
	}
}

func TestBuilderMisuse(t *testing.T) {
	block := make([]byte, verity.BlockSize)
	for _, tt := range []struct {
		name string
		run  func(b *verity.Builder) error
		want string
	}{
		{"no first block", func(b *verity.Builder) error {
			_, err := b.Finish()
			return err
		}, "hashing: the first block never came"},
		{"first block twice", func(b *verity.Builder) error {
			_ = b.WriteFirst(block)
			return b.WriteFirst(block)
		}, "hashing: the first block came twice"},
		{"data after the first block", func(b *verity.Builder) error {
			_ = b.WriteFirst(block)
			_, err := b.Write(block)
			return err
		}, "hashing: data after the first block, which is the last to come"},
		{"short first block", func(b *verity.Builder) error {
			return b.WriteFirst(block[1:])
		}, "hashing: first block has 4095 bytes; want 4096"},
		{"image ends within a block", func(b *verity.Builder) error {
			_, _ = b.Write(block[:7])
			return b.WriteFirst(block)
		}, "hashing: image ends 7 bytes into a block"},
		{"an error stays", func(b *verity.Builder) error {
			_ = b.WriteFirst(nil)
			_ = b.WriteFirst(block)
			_, err := b.Finish()
			return err
		}, "hashing: first block has 0 bytes; want 4096"},
		{"finished twice", func(b *verity.Builder) error {
			_ = b.WriteFirst(block)
			_, _ = b.Finish()
			_, err := b.Finish()
			return err
		}, "hashing: already finished"},
	} {
		err := tt.run(verity.NewBuilder(verity.Params{}))
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: error is %v; want %s", tt.name, err, tt.want)
		}
	}
	if _, err := verity.NewBuilder(verity.Params{Salt: make([]byte, 257)}).Write(block); err == nil {
		t.Error("a salt of 257 bytes gave no error")
	}
}

func TestBuildBadInput(t *testing.T) {
	for _, tt := range []struct {
		name string
		have int
		size int64
		want error
	}{
		{"no bytes", 0, 0, nil},
		{"no whole block", 4097, 4097, nil},
		{"negative", 0, -4096, nil},
		{"reader ends in the first block", 100, 4096, io.ErrUnexpectedEOF},
		{"reader ends later", 3 * 4096, 4 * 4096, io.ErrUnexpectedEOF},
	} {
		_, err := verity.Build(bytes.NewReader(make([]byte, tt.have)), tt.size, verity.Params{})
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: Build() = %v; want an error, %v", tt.name, err, tt.want)
		}
	}
}

func TestReadTree(t *testing.T) {
	for _, n := range []int{1, 2, 127, 128, 129, 128 * 128, 128*128 + 1} {
		t.Run(fmt.Sprint(n, " blocks"), func(t *testing.T) {
			tree := mustBuild(t, make([]byte, n*verity.BlockSize), verity.DefaultParams())
			b := encode(t, tree)
			if got := verity.TreeBytes(int64(n)); got != int64(len(b)) {
				t.Errorf("TreeBytes(%d) = %d; want %d", n, got, len(b))
			}
			behind := append(bytes.Clone(b), 0xff) // what lies behind a tree is no part of it
			got, err := verity.ReadTree(bytes.NewReader(behind), int64(len(behind)), tree.RootHash)
			if err != nil {
				t.Fatalf("ReadTree() = %v", err)
			}
			if diff := cmp.Diff(encode(t, got), b); diff != "" {
				t.Error("tree that was read writes other bytes")
			}
			if got.DataBlocks != int64(n) || !bytes.Equal(got.RootHash, tree.RootHash) || !bytes.Equal(got.Salt, tree.Salt) || got.UUID != tree.UUID {
				t.Errorf("ReadTree() = %d blocks, %x, %x, %x; want those of %d blocks", got.DataBlocks, got.RootHash, got.Salt, got.UUID, n)
			}
		})
	}
}

// Every byte of a tree matters, except the UUID, which nothing depends on.
func TestReadTreeFindsEveryFlippedByte(t *testing.T) {
	for _, n := range []int{1, 100, 129, 300} {
		tree := mustBuild(t, randomBlocks(n, 7), verity.DefaultParams())
		b := encode(t, tree)
		for i := range b {
			if i >= 16 && i < 32 {
				continue // UUID
			}
			bad := bytes.Clone(b)
			bad[i] ^= 0x10
			got, err := verity.ReadTree(bytes.NewReader(bad), int64(len(bad)), tree.RootHash)
			if n == 1 && i >= 80 && i < 344 && err == nil {
				// The tree of one block is its root hash; a wrong salt shows in the data.
				if err = got.VerifyBlock(0, randomBlocks(n, 7)); err == nil {
					t.Errorf("%d blocks, byte %d flipped: block verifies", n, i)
				}
			}
			if !errors.Is(err, verity.ErrCorrupt) {
				t.Fatalf("%d blocks, byte %d flipped: error is %v; want ErrCorrupt", n, i, err)
			}
		}
	}
}

func TestReadTreeCorrupt(t *testing.T) {
	data := randomBlocks(200, 9)
	tree := mustBuild(t, data, verity.DefaultParams())
	other := mustBuild(t, data[verity.BlockSize:], verity.DefaultParams())
	for _, tt := range []struct {
		name    string
		corrupt func(b []byte) []byte
		root    []byte
	}{
		{"another root hash", func(b []byte) []byte { return b }, other.RootHash},
		{"a short root hash", func(b []byte) []byte { return b }, tree.RootHash[:31]},
		{"no root hash", func(b []byte) []byte { return b }, nil},
		{"nothing", func([]byte) []byte { return nil }, tree.RootHash},
		{"ends in the superblock", func(b []byte) []byte { return b[:511] }, tree.RootHash},
		{"ends behind the superblock", func(b []byte) []byte { return b[:4096] }, tree.RootHash},
		{"ends in the last block", func(b []byte) []byte { return b[:len(b)-1] }, tree.RootHash},
		{"only zeros", func(b []byte) []byte { return make([]byte, len(b)) }, tree.RootHash},
		{"one data block less", func(b []byte) []byte { b[72]--; return b }, tree.RootHash},
		{"one data block more", func(b []byte) []byte { b[72]++; return b }, tree.RootHash},
		{"no data blocks", func(b []byte) []byte { clear(b[72:80]); return b }, tree.RootHash},
		{"2^63 data blocks", func(b []byte) []byte { b[79] = 0x80; return b }, tree.RootHash},
		{"another hash algorithm", func(b []byte) []byte { copy(b[32:], "sha512"); return b }, tree.RootHash},
		{"hash type 0", func(b []byte) []byte { b[12] = 0; return b }, tree.RootHash},
		{"data blocks of 512 bytes", func(b []byte) []byte { b[64], b[65] = 0, 2; return b }, tree.RootHash},
		{"salt longer than there is room", func(b []byte) []byte { b[80], b[81] = 1, 1; return b }, tree.RootHash},
	} {
		bad := tt.corrupt(encode(t, tree))
		got, err := verity.ReadTree(bytes.NewReader(bad), int64(len(bad)), tt.root)
		if !errors.Is(err, verity.ErrCorrupt) || got != nil {
			t.Errorf("%s: ReadTree() = tree %v, %v; want none, ErrCorrupt", tt.name, got != nil, err)
		}
	}
	boom := errors.New("boom")
	if _, err := verity.ReadTree(failingReader{boom}, 1<<20, tree.RootHash); !errors.Is(err, boom) || errors.Is(err, verity.ErrCorrupt) {
		t.Errorf("ReadTree(a reader that fails) = %v; want its error, not ErrCorrupt", err)
	}
	if _, err := verity.ReadTree(bytes.NewReader(nil), -1, tree.RootHash); !errors.Is(err, verity.ErrCorrupt) {
		t.Errorf("ReadTree(size -1) = %v; want ErrCorrupt", err)
	}
}

type failingReader struct{ err error }

func (r failingReader) ReadAt([]byte, int64) (int, error) { return 0, r.err }

type failingWriter struct {
	left int
	err  error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.left)
	if w.left -= n; n < len(p) {
		return n, w.err
	}
	return n, nil
}

func TestWriteToReportsErrors(t *testing.T) {
	tree := mustBuild(t, make([]byte, 300*verity.BlockSize), verity.Params{})
	full := errors.New("full")
	for left := range int(tree.Bytes()) {
		if n, err := tree.WriteTo(&failingWriter{left, full}); n != int64(left) || !errors.Is(err, full) {
			t.Fatalf("WriteTo(%d bytes of room) = %d, %v; want %d, full", left, n, err, left)
		}
	}
}

// TestBuildReaders has images that are read in order and others that are read
// by several at a time, also from the middle of a file.
func TestBuildReaders(t *testing.T) {
	data := randomBlocks(700, 5)
	want := encode(t, mustBuild(t, data, verity.DefaultParams()))
	inOrder := func(b []byte) io.Reader { return struct{ io.Reader }{bytes.NewReader(b)} }
	behind := func(b []byte) io.Reader {
		r := bytes.NewReader(append(make([]byte, 1000), b...))
		if _, err := r.Seek(1000, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		return r
	}
	for name, reader := range map[string]func([]byte) io.Reader{"in order": inOrder, "behind something": behind} {
		r := reader(append(bytes.Clone(data), "rest"...))
		tree, err := verity.Build(r, int64(len(data)), verity.DefaultParams())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := encode(t, tree); !bytes.Equal(got, want) {
			t.Errorf("%s: tree differs at byte %d", name, firstDifference(got, want))
		}
		if rest, err := io.ReadAll(r); err != nil || string(rest) != "rest" {
			t.Errorf("%s: %q is left, %v; want what is behind the image", name, rest, err)
		}
		const short = 300*verity.BlockSize + 17
		_, err = verity.Build(reader(data[:short]), int64(len(data)), verity.DefaultParams())
		if got, want := fmt.Sprint(err), fmt.Sprintf("hashing: image ends at byte %d of %d: unexpected EOF", short, len(data)); got != want {
			t.Errorf("%s, short: %s; want %s", name, got, want)
		}
	}
}
