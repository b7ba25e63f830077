package bootctl_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

var recordOffs = []int64{0, bootctl.PartitionSize / 2}

// unformatted is a state partition full of something else.
func unformatted() *blockdev.Memory {
	return blockdev.NewMemory(bytes.Repeat([]byte{0xa5}, bootctl.PartitionSize))
}

// formatted is a state partition that holds s in both records.
func formatted(t testing.TB, s bootctl.State) *blockdev.Memory {
	t.Helper()
	dev := unformatted()
	if err := bootctl.Format(dev, s); err != nil {
		t.Fatal(err)
	}
	return dev
}

// states returns n states of a device over time, each other than the rest.
func states(t *testing.T, n int) []bootctl.State {
	d := staged(t)
	var all []bootctl.State
	for i := range n {
		d.s = d.s.FailBoot(slotB, fmt.Sprint("reason ", i))
		all = append(all, d.s)
	}
	return all
}

func load(t *testing.T, dev blockdev.Device) bootctl.State {
	t.Helper()
	s, err := bootctl.Open(dev).Load()
	if err != nil {
		t.Fatalf("Load() = %v", err)
	}
	return s
}

func save(t *testing.T, dev blockdev.Device, s bootctl.State) {
	t.Helper()
	if err := bootctl.Open(dev).Save(s); err != nil {
		t.Fatalf("Save() = %v", err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	all := states(t, 20)
	dev := formatted(t, all[0])
	st := bootctl.Open(dev)
	for i, want := range all {
		if err := st.Save(want); err != nil {
			t.Fatalf("save %d: %v", i, err)
		}
		got, err := st.Load()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Fatalf("save %d: Load() error %v (-want +got):\n%s", i, err, diff)
		}
	}
	// Nothing but the two records was ever written.
	for i, b := range dev.Bytes() {
		inRecord := slices.ContainsFunc(recordOffs, func(off int64) bool { return int64(i) >= off && int64(i) < off+bootctl.RecordSize })
		if !inRecord && b != 0xa5 {
			t.Fatalf("byte %d, outside of the records, was written", i)
		}
	}
}

// At every place where the power can go in a save, the old or the new state
// is there, and the new one when Save has returned. So it is for the first
// save after Format, for the ones after it, and for one that goes on from a
// state that a cut left.
func TestSaveSurvivesEveryCut(t *testing.T) {
	all := states(t, 5)
	images := 0
	for n := 1; n < len(all); n++ {
		dev := formatted(t, all[0])
		for _, s := range all[1:n] {
			save(t, dev, s)
		}
		rec := blockdevtest.NewRecorder(dev)
		save(t, rec, all[n])
		rec.Mark("saved")
		for img, cut := range rec.Crashes() {
			images++
			got := load(t, img)
			if !got.Equal(all[n]) && (cut.Reached("saved") || !got.Equal(all[n-1])) {
				t.Fatalf("save %d, cut %v: Load() gives neither old nor new state: %+v", n, cut, got)
			}
			checkSecondCut(t, img, got, all[n])
		}
	}
	t.Logf("%d images", images)
}

// checkSecondCut saves over what a cut left and cuts that short, too.
func checkSecondCut(t *testing.T, img *blockdevtest.Image, old, next bootctl.State) {
	t.Helper()
	rec := blockdevtest.NewRecorder(img)
	save(t, rec, next)
	rec.Mark("saved")
	for img, cut := range rec.Crashes() {
		if got := load(t, img); !got.Equal(next) && (cut.Reached("saved") || !got.Equal(old)) {
			t.Fatalf("second cut %v: Load() gives neither old nor new state: %+v", cut, got)
		}
	}
}

// While a fresh partition is formatted there is no state or the right one,
// and never one of a system that was on the disk before.
func TestFormatSurvivesEveryCut(t *testing.T) {
	all := states(t, 3)
	for name, dev := range map[string]*blockdev.Memory{"unformatted": unformatted(), "formatted before": formatted(t, all[1])} {
		for range 5 {
			if name == "formatted before" {
				save(t, dev, all[1])
			}
		}
		rec := blockdevtest.NewRecorder(dev)
		if err := bootctl.Format(rec, all[2]); err != nil {
			t.Fatal(err)
		}
		rec.Mark("formatted")
		for img, cut := range rec.Crashes() {
			got, err := bootctl.Open(img).Load()
			switch {
			case err == nil && got.Equal(all[2]):
			case cut.Reached("formatted"):
				t.Errorf("%s, cut %v: Load() = %+v, %v; want the state", name, cut, got, err)
			case errors.Is(err, bootctl.ErrNoState):
			case err == nil && got.Equal(all[1]) && cut.Synced == 0:
			default:
				t.Errorf("%s, cut %v: Load() = %+v, %v; want the new state or ErrNoState", name, cut, got, err)
			}
		}
	}
	if err := bootctl.Format(blockdev.NewMemory(make([]byte, bootctl.PartitionSize-1)), all[0]); err == nil {
		t.Error("Format(a partition that is too small) gave no error")
	}
}

// noSync loses syncs: a process that is killed between write and sync.
type noSync struct{ blockdev.Device }

func (noSync) Sync() error { return nil }

// A save that was written and never synced reads as the newest one. The next
// save must not overwrite the last one that is on the medium for sure.
func TestSaveAfterAKilledSave(t *testing.T) {
	all := states(t, 4)
	dev := formatted(t, all[0])
	save(t, dev, all[1])
	rec := blockdevtest.NewRecorder(dev)
	save(t, noSync{rec}, all[2])
	save(t, rec, all[3])
	for img, cut := range rec.Crashes() {
		got := load(t, img)
		if !got.Equal(all[1]) && !got.Equal(all[2]) && !got.Equal(all[3]) {
			t.Errorf("cut %v: Load() = %+v", cut, got)
		}
	}
}

// damage spoils one record, or both.
func damage(t *testing.T, dev blockdev.Device, records ...int) {
	t.Helper()
	for _, i := range records {
		if _, err := dev.WriteAt([]byte{0xff}, recordOffs[i]+100); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLoadDamaged(t *testing.T) {
	all := states(t, 3)
	newDevice := func() *blockdev.Memory { // record 0 holds all[2], record 1 all[1]
		dev := formatted(t, all[1])
		save(t, dev, all[2])
		return dev
	}
	for _, tt := range []struct {
		name    string
		damaged []int
		want    *bootctl.State // nil: ErrNoState
	}{
		{"none", nil, &all[2]},
		{"the newer record", []int{0}, &all[1]},
		{"the older record", []int{1}, &all[2]},
		{"both records", []int{0, 1}, nil},
	} {
		dev := newDevice()
		damage(t, dev, tt.damaged...)
		got, err := bootctl.Open(dev).Load()
		if tt.want == nil {
			if !errors.Is(err, bootctl.ErrNoState) || !errors.Is(err, bootctl.ErrCorrupt) || !got.Equal(bootctl.New()) {
				t.Errorf("%s damaged: Load() = %+v, %v; want an empty state, ErrNoState", tt.name, got, err)
			}
		} else if err != nil || !got.Equal(*tt.want) {
			t.Errorf("%s damaged: Load() = %+v, %v; want %+v", tt.name, got, err, *tt.want)
		}
		// Whatever is damaged, a save makes it good, and a second one makes
		// both records good.
		save(t, dev, all[0])
		if got := load(t, dev); !got.Equal(all[0]) {
			t.Errorf("%s damaged: after a save Load() = %+v; want %+v", tt.name, got, all[0])
		}
		save(t, dev, all[1])
		for i := range recordOffs {
			one := blockdevtest.NewImage(dev)
			damage(t, one, i)
			if _, err := bootctl.Open(one).Load(); err != nil {
				t.Errorf("%s damaged: after two saves Load(without record %d) = %v", tt.name, i, err)
			}
		}
	}
	if _, err := bootctl.Open(unformatted()).Load(); !errors.Is(err, bootctl.ErrNoState) {
		t.Errorf("Load(unformatted) = %v; want ErrNoState", err)
	}
	if _, err := bootctl.Open(blockdev.NewMemory(make([]byte, 4096))).Load(); err == nil || errors.Is(err, bootctl.ErrNoState) {
		t.Errorf("Load(a partition that is too small) = %v; want an error other than ErrNoState", err)
	}
}

// Every single byte of a record counts.
func TestEveryFlippedByteIsFound(t *testing.T) {
	all := states(t, 2)
	dev := formatted(t, all[0])
	save(t, dev, all[1])
	for i := range int64(bootctl.RecordSize) {
		img := blockdevtest.NewImage(dev)
		b := make([]byte, 1)
		if _, err := img.ReadAt(b, i); err != nil {
			t.Fatal(err)
		}
		if _, err := img.WriteAt([]byte{b[0] ^ 0x20}, i); err != nil {
			t.Fatal(err)
		}
		if got := load(t, img); !got.Equal(all[0]) {
			t.Fatalf("byte %d of the newer record flipped: Load() = %+v; want the older state", i, got)
		}
	}
}

// patch changes a record's header and makes its checksum right again.
func patch(t *testing.T, dev blockdev.Device, record int, change func(b []byte)) {
	t.Helper()
	b := make([]byte, bootctl.RecordSize)
	if _, err := dev.ReadAt(b, recordOffs[record]); err != nil {
		t.Fatal(err)
	}
	change(b)
	seal(b)
	if _, err := dev.WriteAt(b, recordOffs[record]); err != nil {
		t.Fatal(err)
	}
}

func seal(b []byte) {
	clear(b[24:28])
	binary.LittleEndian.PutUint32(b[24:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func TestNewerFormatIsNotOverwritten(t *testing.T) {
	all := states(t, 3)
	newer := func(b []byte) {
		b[8] = bootctl.FormatVersion + 1
		copy(b[32:], "\x00 what a later version means by it")
	}
	for _, tt := range []struct {
		name    string
		records []int
		want    bootctl.State
	}{
		{"newer record is of a newer format", []int{0}, all[0]},
		{"older record is of a newer format", []int{1}, all[1]},
		{"both are", []int{0, 1}, bootctl.New()},
	} {
		dev := formatted(t, all[0])
		save(t, dev, all[1])
		for _, i := range tt.records {
			patch(t, dev, i, newer)
		}
		before := dev.Bytes()
		got, err := bootctl.Open(dev).Load()
		if !errors.Is(err, bootctl.ErrNewer) || errors.Is(err, bootctl.ErrNoState) || !got.Equal(tt.want) {
			t.Errorf("%s: Load() = %+v, %v; want what can be read and ErrNewer", tt.name, got, err)
		}
		if err := bootctl.Open(dev).Save(all[2]); !errors.Is(err, bootctl.ErrNewer) {
			t.Errorf("%s: Save() = %v; want ErrNewer", tt.name, err)
		}
		if !bytes.Equal(dev.Bytes(), before) {
			t.Errorf("%s: the partition was written to", tt.name)
		}
	}
}

func TestGenerationsThatCannotBe(t *testing.T) {
	all := states(t, 3)
	for _, generation := range []uint64{0, math.MaxUint64} {
		dev := formatted(t, all[0])
		save(t, dev, all[1])
		patch(t, dev, 0, func(b []byte) { binary.LittleEndian.PutUint64(b[16:], generation) })
		if got := load(t, dev); !got.Equal(all[0]) {
			t.Errorf("generation %d counts", generation)
		}
		save(t, dev, all[2])
		if got := load(t, dev); !got.Equal(all[2]) {
			t.Errorf("generation %d: what was saved after it does not count", generation)
		}
	}
}
