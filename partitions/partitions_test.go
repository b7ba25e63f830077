package partitions_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/verity"
)

const mib = int64(1) << 20

// tiny is the least disk: what matters here is the table.
var tiny = disk.Layout{ESP: disk.MinESP, Slot: disk.MinSlot, Var: disk.MinVar}

// zeros is a medium of so many zero bytes that takes no memory and that
// nothing may write to: an Image over it is a sparse disk.
type zeros int64

func (z zeros) Size() int64                        { return int64(z) }
func (z zeros) Sync() error                        { return nil }
func (z zeros) WriteAt([]byte, int64) (int, error) { return 0, errors.New("the base was written to") }
func (z zeros) ReadAt(p []byte, off int64) (int, error) {
	n := int(max(0, min(int64(len(p)), int64(z)-off)))
	clear(p[:n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// room is how much a test disk can grow.
const room = 8 * mib

// newDisk makes a disk of size bytes in memory; 0 means the least. The medium
// goes on for room bytes behind it.
func newDisk(t testing.TB, size int64) (dev *blockdev.Section, medium *blockdevtest.Image) {
	t.Helper()
	if size == 0 {
		size = int64(tiny.MinDisk())
	}
	medium = blockdevtest.NewImage(zeros(size + room))
	dev = section(t, medium, size)
	if _, err := disk.Create(dev, tiny, disk.Options{Rand: rand.NewChaCha8([32]byte{7})}); err != nil {
		t.Fatalf("making a disk: %v", err)
	}
	return dev, medium
}

func section(t testing.TB, dev blockdev.Device, size int64) *blockdev.Section {
	t.Helper()
	sec, err := blockdev.NewSection(dev, 0, size)
	if err != nil {
		t.Fatal(err)
	}
	return sec
}

// newFile makes the same disk as newDisk in a sparse file.
func newFile(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, _, err := disk.CreateFile(path, 0, tiny, disk.Options{Rand: rand.NewChaCha8([32]byte{7})})
	if err != nil {
		t.Fatalf("making a disk: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// openFile opens a disk image file until the test ends.
func openFile(t testing.TB, path string) *blockdev.File {
	t.Helper()
	f, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// oracle runs a tool; one that is not there fails the test.
func oracle(t *testing.T, pkg, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		if _, statErr := os.Stat(path); statErr != nil {
			t.Fatalf("%s is missing: install the Debian package %s", name, pkg)
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// checkGPT asks sgdisk whether the partition table of a disk is in order.
func checkGPT(t *testing.T, path string) {
	t.Helper()
	if out := oracle(t, "gdisk", "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
}

// An img is an image with its tree and manifest, ready for a slot.
type img struct {
	data     []byte
	tree     *verity.Tree
	manifest []byte
	layers   []byte
}

// newImage makes an image of random blocks.
func newImage(t testing.TB, blocks int, seed uint64) img {
	t.Helper()
	data := make([]byte, blocks*verity.BlockSize)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return imageOf(t, bytes.NewReader(data), data, int64(blocks))
}

func imageOf(t testing.TB, r io.Reader, data []byte, blocks int64) img {
	t.Helper()
	tree, err := verity.Build(r, blocks*verity.BlockSize, verity.DefaultParams())
	if err != nil {
		t.Fatal(err)
	}
	m := manifest.Manifest{
		Format: manifest.FormatVersion, Version: "1.0", Architecture: "amd64",
		RootHash: fmt.Sprintf("%x", tree.RootHash), Salt: fmt.Sprintf("%x", tree.Salt),
		DataBlocks: blocks, ImageBytes: blocks * 4096, HashOffset: blocks * 4096, TreeBytes: tree.Bytes(),
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return img{data: data, tree: tree, manifest: raw}
}

// write puts an image into a slot, in chunks of an odd size.
func write(dev blockdev.Device, im img, sigs []byte, after func(step string)) error {
	w := partitions.NewSlotWriter(dev)
	w.Attach(im.layers)
	steps := []struct {
		name string
		do   func() error
	}{
		{"begin", w.Begin},
		{"write", func() error {
			_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(im.data[4096:])}, make([]byte, 10007))
			return err
		}},
		{"write first", func() error { return w.WriteFirst(im.data[:4096]) }},
		{"tree", func() error { return w.WriteTree(im.tree) }},
		{"read back", func() error { return w.ReadBack(context.Background(), im.tree.RootHash, nil) }},
		{"commit", func() error { return w.Commit(im.manifest, sigs) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return err
		}
		if after != nil {
			after(s.name)
		}
	}
	return nil
}

func TestOpen(t *testing.T) {
	dev, _ := newDisk(t, 0)
	d, err := partitions.Open(dev)
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	if d.FromBackup() {
		t.Error("FromBackup() = true on a sound disk")
	}
	for slot, label := range map[bootctl.Slot]string{bootctl.SlotA: "root-a", bootctl.SlotB: "root-b"} {
		p, err := d.SlotPartition(slot)
		if err != nil || p.Label != label {
			t.Errorf("SlotPartition(%v) = %q, %v; want %q", slot, p.Label, err, label)
		}
		sec, err := d.Slot(slot)
		if err != nil || sec.Off() != p.Off || sec.Size() != p.Size {
			t.Errorf("Slot(%v) = %v, %v; want %d+%d", slot, sec, err, p.Off, p.Size)
		}
	}
	if _, err := d.Slot(bootctl.SlotRecovery); err == nil {
		t.Error("Slot(recovery) on a disk without one = nil error")
	}
	if _, err := d.Slot(bootctl.SlotNone); err == nil {
		t.Error("Slot(none) = nil error")
	}
	if sec, err := d.State(); err != nil || sec.Size() != mib {
		t.Errorf("State() = %v, %v; want 1 MiB", sec, err)
	}
	if p := d.StatePartition(); p.Label != "abstate" {
		t.Errorf("StatePartition() = %+v", p)
	}
}

func TestOpenDamaged(t *testing.T) {
	const size = 80 * mib
	pattern := bytes.Repeat([]byte{0x5a}, 512)
	tests := []struct {
		name   string
		size   int64   // of the disk now
		damage []int64 // sectors
		backup bool
		want   error // nil: it opens
	}{
		{"sound", size, nil, false, nil},
		{"no protective MBR", size, []int64{0}, false, nil},
		{"primary header", size, []int64{512}, true, nil},
		{"primary entries", size, []int64{1024}, true, nil},
		{"backup header", size, []int64{size - 512}, false, nil},
		{"backup entries", size, []int64{size - 33*512}, false, nil},
		{"both headers", size, []int64{512, size - 512}, false, partitions.ErrNoLayout},
		{"primary header and backup entries", size, []int64{512, size - 33*512}, false, partitions.ErrCorrupt},
		{"both entries", size, []int64{1024, size - 33*512}, false, partitions.ErrCorrupt},
		{"grown", size + 8*mib, nil, false, nil},
		// go-diskfs takes this one for an MBR disk, with no error.
		{"grown, primary header", size + 8*mib, []int64{512}, true, nil},
		{"grown, primary entries", size + 8*mib, []int64{1024}, true, nil},
		{"grown, protective MBR and primary entries", size + 8*mib, []int64{0, 1024}, true, nil},
		{"grown, protective MBR and primary header", size + 8*mib, []int64{0, 512}, false, partitions.ErrNoLayout},
		{"grown by one sector, primary header", size + 512, []int64{512}, true, nil},
		{"cut off", size - 10*mib, nil, false, partitions.ErrCorrupt},
		{"nothing but the head", 4096, nil, false, partitions.ErrCorrupt},
		{"no disk", 0, nil, false, partitions.ErrNoLayout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dev, medium := newDisk(t, size)
			sound, err := partitions.Open(dev)
			if err != nil {
				t.Fatal(err)
			}
			for _, off := range tt.damage {
				if _, err := medium.WriteAt(pattern, off); err != nil {
					t.Fatal(err)
				}
			}
			got, err := partitions.Open(section(t, medium, tt.size))
			if !errors.Is(err, tt.want) {
				t.Fatalf("Open() = %v; want %v", err, tt.want)
			}
			if tt.want != nil {
				return
			}
			if got.FromBackup() != tt.backup {
				t.Errorf("FromBackup() = %v; want %v", got.FromBackup(), tt.backup)
			}
			if a, b := fmt.Sprint(got.Partitions()), fmt.Sprint(sound.Partitions()); a != b || got.GUID() != sound.GUID() {
				t.Errorf("Partitions() = %s\nwant %s", a, b)
			}
		})
	}
}

// Each row is a disk that sgdisk makes of a sound one.
func TestOpenForeign(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want error
	}{
		{"labels and types as they are", []string{"-p"}, nil},
		{"the state partition has another label", []string{"-c", "2:other"}, nil},
		{"the state partition has another type", []string{"-t", "2:8300"}, partitions.ErrNoLayout},
		{"two state partitions", []string{"-t", "5:" + partitions.StateType}, partitions.ErrNoLayout},
		{"no root-b", []string{"-c", "4:data"}, partitions.ErrNoLayout},
		{"two of root-a", []string{"-c", "5:root-a"}, partitions.ErrNoLayout},
		{"two of esp", []string{"-c", "5:esp"}, partitions.ErrNoLayout},
		{"no var", []string{"-d", "5"}, nil},
		{"other order of entries", []string{"-r", "1:5"}, nil},
		{"64 entries more", []string{"-S", "192"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // sgdisk sleeps after it wrote
			path := newFile(t)
			oracle(t, "gdisk", "sgdisk", append(tt.args, path)...)
			if _, err := partitions.Open(openFile(t, path)); !errors.Is(err, tt.want) {
				t.Errorf("Open() = %v; want %v", err, tt.want)
			}
		})
	}
}

func TestNode(t *testing.T) {
	p := partitions.Partition{Number: 3}
	for disk, want := range map[string]string{
		"vda": "vda3", "/dev/sda": "/dev/sda3", "nvme0n1": "nvme0n1p3", "/dev/mmcblk0": "/dev/mmcblk0p3", "loop7": "loop7p3",
	} {
		if got := p.Node(disk); got != want {
			t.Errorf("Node(%q) = %q; want %q", disk, got, want)
		}
	}
}

func TestBlank(t *testing.T) {
	for _, size := range []int64{4096, mib, mib + 4096, 3 * mib} {
		dev := blockdev.NewMemory(bytes.Repeat([]byte{1}, int(size)))
		if blank, err := partitions.IsBlank(dev); blank || err != nil {
			t.Errorf("IsBlank(%d bytes of ones) = %v, %v", size, blank, err)
		}
		if err := partitions.Blank(dev); err != nil {
			t.Errorf("Blank(%d bytes) = %v", size, err)
		}
		if blank, err := partitions.IsBlank(dev); !blank || err != nil {
			t.Errorf("IsBlank(%d bytes) after Blank = %v, %v", size, blank, err)
		}
	}
}
