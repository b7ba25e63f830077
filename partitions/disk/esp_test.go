package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
)

func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// espFiles are what an ESP of ours holds, and what makes FAT code stumble:
// sizes around a cluster, long names, names that differ in case only by rule.
func espFiles() map[string][]byte {
	return map[string][]byte{
		"EFI/BOOT/BOOTX64.EFI":                randomBytes(1, 5<<20+123),
		"EFI/Linux/abupdate_6.1.0-40.efi":     randomBytes(2, 512),
		"loader/entries.srel":                 []byte("type1\n"),
		"loader/a file with a long name.conf": randomBytes(3, 513),
		"loader/one":                          {1},
		"loader/cluster":                      randomBytes(4, 4096),
		"startup.nsh":                         []byte("\\EFI\\BOOT\\BOOTX64.EFI\r\n"),
		"deep/er/and/deep/er/file":            []byte("x"),
	}
}

func TestWriteESPAgainstFsckAndMtools(t *testing.T) {
	for _, size := range []disk.Size{disk.MinESP, 64 * disk.MiB, 128 * disk.MiB, 261 * disk.MiB, 512 * disk.MiB} {
		t.Run(size.String(), func(t *testing.T) {
			l := small
			l.ESP = size
			path, d := create(t, 0, l, disk.Options{})
			want := espFiles()
			if err := disk.WriteESP(d, want); err != nil {
				t.Fatalf("WriteESP() = %v", err)
			}
			image := espImage(t, d)
			if out := oracle(t, "dosfstools", "fsck.fat", "-n", image); strings.Count(out, "\n") != 2 {
				t.Errorf("fsck.fat has something to say:\n%s", out)
			}
			if out := oracle(t, "mtools", "minfo", "-i", image); !strings.Contains(out, `disk type="FAT32   "`) {
				t.Errorf("minfo says this is no FAT32:\n%s", out)
			}
			for name, content := range want {
				if got := oracle(t, "mtools", "mtype", "-i", image, "::"+name); got != string(content) {
					t.Errorf("mtype %s: %d bytes that differ from the %d written", name, len(got), len(content))
				}
				if got, err := disk.ReadESP(d, name); err != nil || !bytes.Equal(got, content) {
					t.Errorf("ReadESP(%s) = %d bytes, %v; want the %d bytes written", name, len(got), err, len(content))
				}
			}
			out := strings.Fields(oracle(t, "mtools", "mdir", "-i", image, "-b", "-/", "::"))
			if !slices.Contains(out, "::/EFI/BOOT/BOOTX64.EFI") {
				t.Errorf("mdir does not list ::/EFI/BOOT/BOOTX64.EFI:\n%s", out)
			}
			checkGPT(t, path)
		})
	}
}

// The kernel and the firmware count clusters to tell FAT16 from FAT32; the
// least ESP must be on the right side.
func TestMinESPHasEnoughClusters(t *testing.T) {
	l := small
	l.ESP = disk.MinESP
	_, d := create(t, 0, l, disk.Options{})
	if err := disk.WriteESP(d, nil); err != nil {
		t.Fatal(err)
	}
	if n := clusters(t, d); n < 65525 {
		t.Errorf("the ESP has %d clusters; a FAT32 has at least 65525", n)
	}
}

// clusters asks fsck.fat, whose last line is "esp.img: 1 files, 1/80628 clusters".
func clusters(t *testing.T, d *partitions.Disk) int {
	t.Helper()
	out := oracle(t, "dosfstools", "fsck.fat", "-n", espImage(t, d))
	_, tail, _ := strings.Cut(out, " files, ")
	var used, clusters int
	if _, err := fmt.Sscanf(tail, "%d/%d clusters", &used, &clusters); err != nil {
		t.Fatalf("fsck.fat said %q", out)
	}
	return clusters
}

// espImage copies the ESP out of its disk, into a sparse file.
func espImage(t *testing.T, d *partitions.Disk) string {
	t.Helper()
	sec, err := d.Section(partitions.LabelESP)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "esp.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(sec.Size()); err != nil {
		t.Fatal(err)
	}
	buf, zero := make([]byte, disk.MiB), make([]byte, disk.MiB)
	for off := int64(0); off < sec.Size(); off += int64(len(buf)) {
		if _, err := sec.ReadAt(buf, off); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if bytes.Equal(buf, zero) {
			continue
		}
		if _, err := f.WriteAt(buf, off); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

// Disks with sectors of 4096 bytes need a larger ESP and another table.
func TestSectorsOf4096(t *testing.T) {
	l := small
	if _, _, err := disk.CreateFile(filepath.Join(t.TempDir(), "disk.img"), 0, l, disk.Options{SectorSize: 4096}); fault.KindOf(err) != fault.Usage {
		t.Errorf("CreateFile() with an ESP of %v = %v; want an error of kind Usage", l.ESP, err)
	}
	l.ESP = disk.MinESP4K
	path, d := create(t, 0, l, disk.Options{SectorSize: 4096})
	if err := disk.WriteESP(d, espFiles()); err != nil {
		t.Fatalf("WriteESP() = %v", err)
	}
	oracle(t, "dosfstools", "fsck.fat", "-n", espImage(t, d))
	if n := clusters(t, d); n < 65525 {
		t.Errorf("the ESP has %d clusters; a FAT32 has at least 65525", n)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := gpt.Read(file.New(f, true), 4096, 4096)
	if err != nil {
		t.Fatalf("go-diskfs: gpt.Read() = %v", err)
	}
	if err := table.Verify(file.New(f, true), uint64(l.MinDisk())); err != nil {
		t.Errorf("go-diskfs: Verify() = %v", err)
	}
	for i, p := range d.Partitions() {
		if got := table.Partitions[i]; got.Name != p.Label || int64(got.Start)*4096 != p.Off || int64(got.Size) != p.Size {
			t.Errorf("go-diskfs reads %s at sector %d, %d bytes; partitions reads %+v", got.Name, got.Start, got.Size, p)
		}
	}
}

func TestWriteESPOverOldContent(t *testing.T) {
	old := bytes.Repeat(randomBytes(9, 1<<20), int(small.MinDisk()/disk.MiB))
	d, err := disk.Create(blockdev.NewMemory(old), small, disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteESP(d, espFiles()); err != nil {
		t.Fatalf("WriteESP() = %v", err)
	}
	oracle(t, "dosfstools", "fsck.fat", "-n", espImage(t, d))
}

func TestWriteESPRefuses(t *testing.T) {
	tests := []struct {
		name, file string
		size       int
		kind       fault.Kind
		want       string
	}{
		{"file larger than the ESP", "EFI/BOOT/BOOTX64.EFI", 41 << 20, fault.NoRoom, "the files need"},
		{"absolute name", "/EFI/x", 1, fault.Usage, "no path for it"},
		{"name that climbs", "EFI/../../x", 1, fault.Usage, "no path for it"},
		{"name FAT can not hold", "EFI/a:b", 1, fault.Usage, "no path for it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, d := create(t, 0, small, disk.Options{})
			err := disk.WriteESP(d, map[string][]byte{tt.file: make([]byte, tt.size)})
			if got := fault.KindOf(err); got != tt.kind || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("WriteESP() = %v (kind %d); want %q (kind %d)", err, got, tt.want, tt.kind)
			}
		})
	}
}

func TestReadESPWithoutTheFile(t *testing.T) {
	_, d := create(t, 0, small, disk.Options{})
	if err := disk.WriteESP(d, nil); err != nil {
		t.Fatal(err)
	}
	if b, err := disk.ReadESP(d, "EFI/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadESP(EFI/none) = %q, %v; want fs.ErrNotExist", b, err)
	}
}

func TestConvertQcow2(t *testing.T) {
	raw, d := create(t, 0, small, disk.Options{})
	if err := disk.WriteESP(d, espFiles()); err != nil {
		t.Fatal(err)
	}
	qcow := filepath.Join(t.TempDir(), "disk.qcow2")
	if err := disk.ConvertQcow2(t.Context(), raw, qcow); err != nil {
		t.Fatalf("ConvertQcow2() = %v", err)
	}
	oracle(t, "qemu-utils", "qemu-img", "check", "-f", "qcow2", qcow)
	oracle(t, "qemu-utils", "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, qcow)
}

func TestConvertQcow2Fails(t *testing.T) {
	dir := t.TempDir()
	qcow := filepath.Join(dir, "disk.qcow2")
	if err := disk.ConvertQcow2(t.Context(), filepath.Join(dir, "none"), qcow); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("ConvertQcow2(no such file) = %v; want an error of one line", err)
	}
	raw, _ := create(t, 0, small, disk.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := disk.ConvertQcow2(ctx, raw, qcow); !errors.Is(err, context.Canceled) {
		t.Errorf("ConvertQcow2(canceled) = %v; want %v", err, context.Canceled)
	}
	if _, err := os.Stat(qcow); err == nil {
		t.Error("ConvertQcow2() failed and left its file")
	}
}

// Pieces of a long name whose file is gone belong to no other file. The name
// behind them fills its piece, so that nothing ends it but its beginning.
func TestLongNameWithoutItsFile(t *testing.T) {
	_, d := create(t, 0, small, disk.Options{})
	if err := disk.WriteESP(d, map[string][]byte{"d/a first long name": {1}, "d/thirteen.char": {2}}); err != nil {
		t.Fatal(err)
	}
	sec, err := d.Section(partitions.LabelESP)
	if err != nil {
		t.Fatal(err)
	}
	all := make([]byte, sec.Size())
	if _, err := sec.ReadAt(all, 0); err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(all, []byte("AFIRST~1"))
	if at < 32 || at%32 != 0 || all[at-32+11] != 0x0f {
		t.Fatalf("the short name stands at byte %d", at)
	}
	if _, err := sec.WriteAt(all[at-32:at], int64(at)); err != nil { // one more piece
		t.Fatal(err)
	}
	if b, err := disk.ReadESP(d, "d/thirteen.char"); err != nil || !bytes.Equal(b, []byte{2}) {
		t.Errorf("ReadESP(the file behind them) = %v, %v; want its byte", b, err)
	}
	if _, err := disk.ReadESP(d, "d/a first long name"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadESP(the file that is gone) = %v; want %v", err, fs.ErrNotExist)
	}
}
