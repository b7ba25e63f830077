package partitions_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/diskfs/go-diskfs/backend/file"
	"github.com/diskfs/go-diskfs/partition/gpt"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
)

// toFile copies a device into a sparse file.
func toFile(t *testing.T, dev blockdev.Device) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(dev.Size()); err != nil {
		t.Fatal(err)
	}
	buf, zero := make([]byte, 64<<10), make([]byte, 64<<10)
	for off := int64(0); off < dev.Size(); off += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), dev.Size()-off)]
		if _, err := dev.ReadAt(p, off); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(p, zero[:len(p)]) {
			continue
		}
		if _, err := f.WriteAt(p, off); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

const growSize = 80 * mib

// growCases are disks that GrowLast has something to do on, and how many
// bytes var gains.
var growCases = []struct {
	name   string
	grow   int64
	damage []int64 // sectors
	gain   int64
}{
	{"grown", 8 * mib, nil, 8 * mib},
	{"grown by a sector, which is not enough for var", 512, nil, 0},
	{"grown by less than a backup table", 8 * 512, nil, 0},
	{"grown, primary header damaged", 8 * mib, []int64{512}, 8 * mib},
	{"grown, primary entries damaged", 8 * mib, []int64{1024}, 8 * mib},
	{"grown by a sector, primary entries damaged", 512, []int64{1024}, 0},
	{"grown, backup damaged", 8 * mib, []int64{growSize - 512}, 8 * mib},
	{"grown, no protective MBR", 8 * mib, []int64{0}, 8 * mib},
	{"primary header damaged", 0, []int64{512}, 0},
	{"primary entries damaged", 0, []int64{1024}, 0},
	{"backup header damaged", 0, []int64{growSize - 512}, 0},
	{"backup entries damaged", 0, []int64{growSize - 33*512}, 0},
	{"no protective MBR", 0, []int64{0}, 0},
}

// growDisk makes the disk of a case; damage is zeros, which leave the rest of
// sector 0 to be made anew.
func growDisk(t *testing.T, grow int64, damage []int64) *blockdev.Section {
	t.Helper()
	_, medium := newDisk(t, growSize)
	for _, off := range damage {
		if _, err := medium.WriteAt(make([]byte, 512), off); err != nil {
			t.Fatal(err)
		}
	}
	return section(t, medium, growSize+grow)
}

func TestGrowLast(t *testing.T) {
	for _, tt := range growCases {
		t.Run(tt.name, func(t *testing.T) {
			dev := growDisk(t, tt.grow, tt.damage)
			before, err := partitions.Open(dev)
			if err != nil {
				t.Fatal(err)
			}
			changed, err := partitions.GrowLast(dev)
			if !changed || err != nil {
				t.Fatalf("GrowLast() = %v, %v; want true, nil", changed, err)
			}
			after, err := partitions.Open(dev)
			if err != nil || after.FromBackup() {
				t.Fatalf("Open() after GrowLast = %v", err)
			}
			want := before.Partitions()
			want[len(want)-1].Size += tt.gain
			if diff := cmp.Diff(want, after.Partitions()); diff != "" || after.GUID() != before.GUID() {
				t.Errorf("Partitions() after GrowLast mismatch (-want +got):\n%s", diff)
			}
			path := toFile(t, dev)
			checkGPT(t, path)
			checkGoDiskfs(t, path)
			if changed, err := partitions.GrowLast(dev); changed || err != nil {
				t.Errorf("GrowLast() again = %v, %v; want false, nil", changed, err)
			}
		})
	}
}

func checkGoDiskfs(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gpt.Read(file.New(f, true), 512, 512)
	if err != nil {
		t.Fatalf("go-diskfs: gpt.Read() = %v", err)
	}
	if err := table.Verify(file.New(f, true), uint64(st.Size())); err != nil || table.RecoveredFromBackup {
		t.Errorf("go-diskfs: Verify() = %v, from backup %v", err, table.RecoveredFromBackup)
	}
	if !table.ProtectiveMBR {
		t.Error("go-diskfs: no protective MBR")
	}
}

// At every cut Open finds a whole copy, nothing but var's end has moved, and
// the next GrowLast brings the disk to the same end.
func TestGrowLastCrash(t *testing.T) {
	for _, tt := range growCases {
		t.Run(tt.name, func(t *testing.T) {
			base := growDisk(t, tt.grow, tt.damage)
			before, err := partitions.Open(base)
			if err != nil {
				t.Fatal(err)
			}
			rec := blockdevtest.NewRecorder(base)
			if _, err := partitions.GrowLast(rec); err != nil {
				t.Fatal(err)
			}
			rec.Mark("grown")
			done, err := partitions.Open(rec)
			if err != nil {
				t.Fatal(err)
			}
			old, final := fmt.Sprint(before.Partitions()), fmt.Sprint(done.Partitions())
			cuts := 0
			for img, cut := range rec.Crashes() {
				cuts++
				d, err := partitions.Open(img)
				if err != nil {
					t.Fatalf("cut %v: Open() = %v", cut, err)
				}
				got := fmt.Sprint(d.Partitions())
				if got != final && (got != old || cut.Reached("grown")) {
					t.Fatalf("cut %v: Partitions() = %s\nbefore %s\n after %s", cut, got, old, final)
				}
				if _, err := partitions.GrowLast(img); err != nil {
					t.Fatalf("cut %v: GrowLast() again = %v", cut, err)
				}
				if !equal(t, img, rec, tt.grow) {
					t.Fatalf("cut %v: GrowLast() again leaves another table", cut)
				}
			}
			if cuts < 2 {
				t.Errorf("%d images: the recorder saw nothing", cuts)
			}
		})
	}
}

// equal compares the places of both tables on two disks.
func equal(t *testing.T, a, b blockdev.Device, grow int64) bool {
	t.Helper()
	head, tail := make([]byte, 34*512), make([]byte, 33*512)
	for _, p := range []struct {
		buf []byte
		off int64
	}{{head, 0}, {tail, growSize + grow - 33*512}} {
		other := make([]byte, len(p.buf))
		if _, err := a.ReadAt(p.buf, p.off); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ReadAt(other, p.off); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.buf, other) {
			return false
		}
	}
	return true
}

// Every cut of a repair of the primary from a backup at the disk's end, when
// var has yet to grow into room that is there: the only whole copy must not
// be touched first.
func TestGrowLastKeepsTheOnlyCopy(t *testing.T) {
	path := newFile(t)
	d, err := partitions.Open(openFile(t, path))
	if err != nil {
		t.Fatal(err)
	}
	v, _ := d.Partition("var")
	start, end := v.Off/512, (v.Off+4*mib)/512-1
	oracle(t, "gdisk", "sgdisk", "-d", "5", "-n", fmt.Sprintf("5:%d:%d", start, end),
		"-c", "5:var", "-t", "5:"+partitions.VarType, "-u", "5:"+v.GUID, path)
	base := openFile(t, path)
	if _, err := base.WriteAt(make([]byte, 512), 512); err != nil {
		t.Fatal(err)
	}
	rec := blockdevtest.NewRecorder(base)
	if changed, err := partitions.GrowLast(rec); !changed || err != nil {
		t.Fatalf("GrowLast() = %v, %v; want true, nil", changed, err)
	}
	d, err = partitions.Open(rec)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := d.Partition("var"); got != v {
		t.Errorf("var after GrowLast is %+v; want %+v", got, v)
	}
	for img, cut := range rec.Crashes() {
		if _, err := partitions.Open(img); err != nil {
			t.Fatalf("cut %v: Open() = %v", cut, err)
		}
	}
}

func TestGrowLastLeavesOthersAlone(t *testing.T) {
	path := newFile(t)
	oracle(t, "gdisk", "sgdisk", "-c", "5:data", path)
	if err := os.Truncate(path, int64(tiny.MinDisk())+room); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, path)
	before, err := partitions.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := partitions.GrowLast(f); !changed || err != nil {
		t.Fatalf("GrowLast() = %v, %v; want true, nil", changed, err)
	}
	after, err := partitions.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before.Partitions(), after.Partitions()); diff != "" {
		t.Errorf("GrowLast() changed a last partition that is not var:\n%s", diff)
	}
	checkGPT(t, path)
}

func TestGrowLastRefuses(t *testing.T) {
	t.Run("no layout", func(t *testing.T) {
		dev := blockdevtest.NewImage(zeros(growSize))
		if changed, err := partitions.GrowLast(dev); changed || !errors.Is(err, partitions.ErrNoLayout) {
			t.Errorf("GrowLast() = %v, %v; want false, ErrNoLayout", changed, err)
		}
	})
	t.Run("the last partition stands where the backup belongs", func(t *testing.T) {
		_, medium := newDisk(t, growSize)
		d, err := partitions.Open(section(t, medium, growSize))
		if err != nil {
			t.Fatal(err)
		}
		v, _ := d.Partition("var")
		rec := blockdevtest.NewRecorder(section(t, medium, v.Off+v.Size))
		if changed, err := partitions.GrowLast(rec); changed || !errors.Is(err, partitions.ErrCorrupt) {
			t.Errorf("GrowLast() = %v, %v; want false, ErrCorrupt", changed, err)
		}
	})
}

func TestGrowLastFaults(t *testing.T) {
	for name, faults := range map[string]func(n int) blockdevtest.Faults{
		"write": func(n int) blockdevtest.Faults { return blockdevtest.Faults{Write: n} },
		"torn":  func(n int) blockdevtest.Faults { return blockdevtest.Faults{Write: n, Short: 512, Onwards: true} },
		"sync":  func(n int) blockdevtest.Faults { return blockdevtest.Faults{Sync: n} },
	} {
		for n := 1; ; n++ {
			dev := growDisk(t, 8*mib, []int64{1024})
			inj := blockdevtest.Inject(dev, faults(n))
			_, err := partitions.GrowLast(inj)
			if !inj.Hit() {
				if n < 4 || err != nil {
					t.Errorf("%s %d was never reached, and GrowLast() = %v", name, n, err)
				}
				break
			}
			if !errors.Is(err, unix.EIO) {
				t.Errorf("%s %d fails: GrowLast() = %v; want EIO", name, n, err)
			}
			if _, err := partitions.Open(dev); err != nil {
				t.Errorf("%s %d fails: Open() = %v", name, n, err)
			}
		}
	}
}
