package partitions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
)

// dirty is a slot of size bytes full of what is neither zero nor sound.
func dirty(size int64) *blockdev.Memory {
	return blockdev.NewMemory(bytes.Repeat([]byte{0xa7}, int(size)))
}

func TestSlotWriter(t *testing.T) {
	sigs := bytes.Repeat([]byte("signature "), 900)
	for _, tt := range []struct {
		name   string
		blocks int
		sigs   []byte
	}{
		{"one block", 1, nil}, {"two blocks", 2, sigs}, {"one chunk less a block", 255, nil}, {"one chunk", 256, nil},
		{"a chunk and a block", 258, sigs}, {"several chunks", 1000, sigs},
	} {
		t.Run(tt.name, func(t *testing.T) {
			im := newImage(t, tt.blocks, 1)
			for name, write := range orders {
				dev := dirty(partitions.SlotSize(int64(len(im.data)))) // not a byte to spare
				if err := write(dev, im, tt.sigs, nil); err != nil {
					t.Fatalf("writing, %s: %v", name, err)
				}
				c, err := partitions.ReadSlot(dev)
				if err != nil {
					t.Fatalf("%s: ReadSlot() = %v", name, err)
				}
				if !bytes.Equal(c.ManifestRaw, im.manifest) || !bytes.Equal(c.Signatures, tt.sigs) || c.Manifest.Version != "1.0" {
					t.Errorf("%s: ReadSlot() = %+v; not what was written", name, c)
				}
				checkContent(t, dev, c, im)
			}
		})
	}
}

// checkContent compares a slot's image and tree with what they should be.
func checkContent(t *testing.T, dev blockdev.Device, c *partitions.SlotContent, want img) {
	t.Helper()
	if err := verifies(dev, c, want); err != nil {
		t.Error(err)
	}
}

func verifies(dev blockdev.Device, c *partitions.SlotContent, want img) error {
	tree, err := c.Tree(dev)
	if err != nil {
		return fmt.Errorf("Tree() = %w", err)
	}
	sec, err := c.Image(dev)
	if err != nil {
		return fmt.Errorf("Image() = %w", err)
	}
	if err := tree.VerifyData(context.Background(), sec, nil); err != nil {
		return fmt.Errorf("VerifyData() = %w", err)
	}
	got := make([]byte, sec.Size())
	if _, err := sec.ReadAt(got, 0); err != nil {
		return err
	}
	if !bytes.Equal(got, want.data) {
		return errors.New("the image is another one")
	}
	return nil
}

func TestSlotWriterRefuses(t *testing.T) {
	im, other := newImage(t, 300, 1), newImage(t, 300, 2)
	size := partitions.SlotSize(int64(len(im.data)))
	ctx := context.Background()
	// upTo does the steps of a write before the one named.
	upTo := func(t *testing.T, dev blockdev.Device, step string) *partitions.SlotWriter {
		t.Helper()
		w := partitions.NewSlotWriter(dev)
		for _, s := range []struct {
			name string
			do   func() error
		}{
			{"begin", w.Begin},
			{"write", func() error { _, err := w.Write(im.data[4096:]); return err }},
			{"first", func() error { return w.WriteFirst(im.data[:4096]) }},
			{"tree", func() error { return w.WriteTree(im.tree) }},
			{"readback", func() error { return w.ReadBack(ctx, im.tree.RootHash, nil) }},
		} {
			if s.name == step {
				break
			}
			if err := s.do(); err != nil {
				t.Fatalf("%s: %v", s.name, err)
			}
		}
		return w
	}
	tests := []struct {
		name, step string
		do         func(*partitions.SlotWriter, *blockdev.Memory) error
		kind       fault.Kind
		want       string
	}{
		{"write before begin", "begin", func(w *partitions.SlotWriter, _ *blockdev.Memory) error { _, err := w.Write(im.data); return err }, fault.Other, "next is Begin"},
		{"commit before read back", "readback", func(w *partitions.SlotWriter, _ *blockdev.Memory) error { return w.Commit(im.manifest, nil) }, fault.Other, "next is ReadBack"},
		{"image larger than the slot", "write", func(w *partitions.SlotWriter, _ *blockdev.Memory) error {
			_, err := w.Write(im.data)
			return err
		}, fault.NoRoom, fmt.Sprintf("the slot of %d bytes holds an image of at most %d", size, len(im.data))},
		{"image of no whole blocks", "write", func(w *partitions.SlotWriter, _ *blockdev.Memory) error {
			w.Write(im.data[:5000])
			return w.WriteFirst(im.data[:4096])
		}, fault.Other, "not whole blocks"},
		{"tree of another length", "tree", func(w *partitions.SlotWriter, _ *blockdev.Memory) error { return w.WriteTree(newImage(t, 299, 1).tree) }, fault.Other, "of 299 blocks, the image has 300"},
		{"tree of another image", "tree", func(w *partitions.SlotWriter, _ *blockdev.Memory) error {
			if err := w.WriteTree(other.tree); err != nil {
				return err
			}
			return w.ReadBack(ctx, other.tree.RootHash, nil)
		}, fault.Verify, "reading the slot back"},
		{"another root hash", "readback", func(w *partitions.SlotWriter, _ *blockdev.Memory) error {
			return w.ReadBack(ctx, other.tree.RootHash, nil)
		}, fault.Verify, "root hash"},
		{"data that changed on the medium", "readback", func(w *partitions.SlotWriter, m *blockdev.Memory) error {
			m.WriteAt([]byte{^im.data[70000]}, 70000)
			return w.ReadBack(ctx, im.tree.RootHash, nil)
		}, fault.Verify, "data block 17"},
		{"tree that changed on the medium", "readback", func(w *partitions.SlotWriter, m *blockdev.Memory) error {
			m.WriteAt([]byte{1, 2, 3}, int64(len(im.data))+8192)
			return w.ReadBack(ctx, im.tree.RootHash, nil)
		}, fault.Verify, "hash tree"},
		{"manifest of another image", "commit", func(w *partitions.SlotWriter, _ *blockdev.Memory) error { return w.Commit(other.manifest, nil) }, fault.Verify, "root hash"},
		{"manifest that is none", "commit", func(w *partitions.SlotWriter, _ *blockdev.Memory) error { return w.Commit([]byte("{}"), nil) }, fault.Verify, "manifest"},
		{"signatures too large", "commit", func(w *partitions.SlotWriter, _ *blockdev.Memory) error {
			return w.Commit(im.manifest, make([]byte, partitions.MaxSignatures+1))
		}, fault.NoRoom, "signatures"},
		{"canceled", "readback", func(w *partitions.SlotWriter, _ *blockdev.Memory) error {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return w.ReadBack(ctx, im.tree.RootHash, nil)
		}, fault.Canceled, "context canceled"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dev := blockdev.NewMemory(make([]byte, size))
			w := upTo(t, dev, tt.step)
			err := tt.do(w, dev)
			if got := fault.KindOf(err); got != tt.kind || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Fatalf("got %v (kind %d); want %q (kind %d)", err, got, tt.want, tt.kind)
			}
			if again := w.Commit(im.manifest, nil); again == nil {
				t.Error("Commit() after a failure = nil error")
			}
			if _, err := partitions.ReadSlot(dev); err != partitions.ErrEmpty {
				t.Errorf("ReadSlot() = %v; want %v", err, partitions.ErrEmpty)
			}
		})
	}
	t.Run("slot too small for anything", func(t *testing.T) {
		err := partitions.NewSlotWriter(dirty(100 << 10)).Begin()
		if fault.KindOf(err) != fault.NoRoom {
			t.Errorf("Begin() = %v; want kind NoRoom", err)
		}
	})
}

// At every cut the slot is without a valid footer, or it holds one of the two
// images whole; and it never says it is done before it is.
func TestSlotWriterCrash(t *testing.T) {
	for name, write := range orders {
		t.Run(name, func(t *testing.T) { testSlotWriterCrash(t, write) })
	}
}

func testSlotWriterCrash(t *testing.T, write order) {
	old, new := newImage(t, 300, 1), newImage(t, 520, 2)
	base := dirty(partitions.SlotSize(int64(len(new.data))) + 5*4096)
	if err := write(base, old, []byte("old signature"), nil); err != nil {
		t.Fatal(err)
	}
	rec := blockdevtest.NewRecorder(base)
	if err := write(rec, new, []byte("new signature"), rec.Mark); err != nil {
		t.Fatal(err)
	}
	cuts, empty := 0, 0
	for img, cut := range rec.Crashes() {
		cuts++
		c, err := partitions.ReadSlot(img)
		switch {
		case errors.Is(err, partitions.ErrEmpty) || errors.Is(err, partitions.ErrCorrupt):
			empty++
			foot := make([]byte, partitions.FooterSize)
			if _, err := img.ReadAt(foot, img.Size()-partitions.FooterSize); err != nil {
				t.Fatal(err)
			}
			if _, footErr := partitions.DecodeFooter(foot); footErr == nil {
				t.Fatalf("cut %v: a valid footer over an unfinished slot: ReadSlot() = %v", cut, err)
			}
			if cut.Reached("commit") {
				t.Fatalf("cut %v: ReadSlot() = %v after Commit", cut, err)
			}
		case err != nil:
			t.Fatalf("cut %v: ReadSlot() = %v", cut, err)
		case string(c.Signatures) == "old signature":
			if cut.Reached("begin") {
				t.Fatalf("cut %v: the old footer is still there after Begin", cut)
			}
			if err := verifies(img, c, old); err != nil {
				t.Fatalf("cut %v: old footer: %v", cut, err)
			}
		default:
			if !cut.Reached("read back") {
				t.Fatalf("cut %v: a new footer before ReadBack was done", cut)
			}
			if err := verifies(img, c, new); err != nil {
				t.Fatalf("cut %v: new footer: %v", cut, err)
			}
		}
		// Whatever is there, a second attempt succeeds; one of them is enough
		// for each kind of remains.
		if cuts%97 == 0 {
			if err := write(img, new, nil, nil); err != nil {
				t.Fatalf("cut %v: writing again: %v", cut, err)
			}
		}
	}
	t.Logf("%d images, %d of them without a slot", cuts, empty)
	if empty == 0 || empty == cuts {
		t.Errorf("%d of %d images without a slot: the recorder saw nothing", empty, cuts)
	}
}

// Every single operation that fails must fail the write, and leave a slot
// that is not taken for complete.
func TestSlotWriterFaults(t *testing.T) {
	im := newImage(t, 300, 1)
	size := partitions.SlotSize(int64(len(im.data)))
	for name, faults := range map[string]func(n int) blockdevtest.Faults{
		"write":       func(n int) blockdevtest.Faults { return blockdevtest.Faults{Write: n} },
		"short write": func(n int) blockdevtest.Faults { return blockdevtest.Faults{Write: n, Short: 700} },
		"disk dies":   func(n int) blockdevtest.Faults { return blockdevtest.Faults{Write: n, Onwards: true} },
		"sync":        func(n int) blockdevtest.Faults { return blockdevtest.Faults{Sync: n} },
		"read":        func(n int) blockdevtest.Faults { return blockdevtest.Faults{Read: n} },
	} {
		for order, write := range orders {
			for n := 1; ; n++ {
				dev := dirty(size)
				inj := blockdevtest.Inject(dev, faults(n))
				err := write(inj, im, nil, nil)
				if !inj.Hit() {
					if err != nil || n < 4 {
						t.Errorf("%s %d, %s, was never reached, and writing = %v", name, n, order, err)
					}
					break
				}
				if !errors.Is(err, unix.EIO) {
					t.Errorf("%s %d, %s, fails: writing = %v; want EIO", name, n, order, err)
				}
			}
		}
	}
}

// The medium of a slot that ReadBack found good may still lose the footer.
func TestCommitReadsTheFooterBack(t *testing.T) {
	im := newImage(t, 3, 1)
	size := partitions.SlotSize(int64(len(im.data))) + 8192
	inj := blockdevtest.Inject(dirty(size), blockdevtest.Faults{OnRead: func(_ int, p []byte, off int64) {
		if off == size-partitions.FooterSize {
			p[100] ^= 1
		}
	}})
	if err := write(inj, im, nil, nil); !errors.Is(err, partitions.ErrCorrupt) || fault.KindOf(err) != fault.Verify {
		t.Errorf("writing = %v; want ErrCorrupt, of kind Verify", err)
	}
}

// hugeSlot is a slot at 5 GiB of a sparse file.
func hugeSlot(t *testing.T, size int64) *blockdev.Section {
	t.Helper()
	const off = 5 << 30
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(off+size), f.Close()); err != nil {
		t.Fatal(err)
	}
	sec, err := blockdev.NewSection(openFile(t, f.Name()), off, size)
	if err != nil {
		t.Fatal(err)
	}
	return sec
}

func TestSlotThatBeginsPast4GiB(t *testing.T) {
	im := newImage(t, 300, 1)
	sec := hugeSlot(t, 6<<30)
	if err := write(sec, im, nil, nil); err != nil {
		t.Fatal(err)
	}
	c, err := partitions.ReadSlot(sec)
	if err != nil {
		t.Fatalf("ReadSlot() = %v", err)
	}
	checkContent(t, sec, c, im)
}

// holes leaves zeros that are to be written over zeros as they are.
type holes struct{ *blockdev.Section }

var zeroChunk [1 << 20]byte

func (h holes) WriteAt(p []byte, off int64) (int, error) {
	if bytes.Equal(p, zeroChunk[:min(len(p), len(zeroChunk))]) {
		return len(p), nil
	}
	return h.Section.WriteAt(p, off)
}

func TestImagePast4GiB(t *testing.T) {
	const size = 4<<30 + 8192
	sec := hugeSlot(t, 6<<30)
	w := partitions.NewSlotWriter(holes{sec})
	if err := w.Begin(); err != nil {
		t.Fatal(err)
	}
	chunk := make([]byte, 4<<20)
	for left := int64(size - 2*4096); left > 0; {
		n, err := w.Write(chunk[:min(left, int64(len(chunk)))])
		if err != nil {
			t.Fatal(err)
		}
		left -= int64(n)
	}
	last, first := bytes.Repeat([]byte("last"), 1024), bytes.Repeat([]byte("1st."), 1024)
	if _, err := w.Write(last); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFirst(first); err != nil {
		t.Fatal(err)
	}
	for off, want := range map[int64][]byte{0: first, size - 4096: last, 8192: make([]byte, 4096)} {
		got := make([]byte, 4096)
		if _, err := sec.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the slot's byte %d: %.8q, %v; want %.8q", off, got, err, want)
		}
	}
}

// The manifest of an image of 5 GiB lies where only 64 bits reach.
func TestReadSlotPast4GiB(t *testing.T) {
	m := manifest.Manifest{
		Format: manifest.FormatVersion, Version: "big", Architecture: "amd64", RootHash: strings.Repeat("ab", 32),
		DataBlocks: 5 << 18, ImageBytes: 5 << 30, HashOffset: 5 << 30, TreeBytes: 42 << 20,
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	sec := hugeSlot(t, 6<<30)
	want := partitions.Footer{
		SlotBytes: 6 << 30, ImageBytes: 5 << 30, HashOff: 5 << 30, TreeBytes: 42 << 20,
		ManifestOff: 5<<30 + 42<<20, ManifestBytes: int64(len(raw)), SignaturesOff: 5<<30 + 42<<20 + 4096,
		ManifestCRC: crc32.Checksum(raw, crc32.MakeTable(crc32.Castagnoli)), RootHash: [32]byte(bytes.Repeat([]byte{0xab}, 32)),
	}
	foot := want.Encode()
	for off, b := range map[int64][]byte{want.ManifestOff: raw, 6<<30 - 4096: foot[:]} {
		if _, err := sec.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	c, err := partitions.ReadSlot(sec)
	if err != nil || c.Manifest.Version != "big" || c.Footer != want {
		t.Errorf("ReadSlot() = %+v, %v; want %+v", c, err, want)
	}
}

// What a slot holds is what veritysetup reads, with the offset that the
// footer names, as docs/ondisk.md tells people to check it.
func TestSlotAgainstVeritysetup(t *testing.T) {
	im := newImage(t, 300, 1)
	dev := dirty(partitions.SlotSize(int64(len(im.data))))
	if err := write(dev, im, nil, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "slot")
	if err := os.WriteFile(path, dev.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	off := fmt.Sprintf("--hash-offset=%d", len(im.data))
	oracle(t, "cryptsetup-bin", "veritysetup", "verify", off, path, path, fmt.Sprintf("%x", im.tree.RootHash))
}

// BenchmarkSlotWriter writes an image of 64 MiB into memory, tree, read back
// and commit included.
func BenchmarkSlotWriter(b *testing.B) {
	im := newImage(b, 16384, 1)
	dev := blockdev.NewMemory(make([]byte, partitions.SlotSize(int64(len(im.data)))))
	b.SetBytes(int64(len(im.data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := write(dev, im, nil, nil); err != nil {
			b.Fatal(err)
		}
	}
}
