package bootctl_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

// largest returns a state that has everything, each text n times unit.
func largest(unit string, n int) bootctl.State {
	long := strings.Repeat(unit, n)
	info := bootctl.SlotInfo{Version: long, Digest: "sha256:" + long, RootHash: long, Image: long}
	s := bootctl.New().Stage(slotB, info).Install(slotA, info)
	for range bootctl.MaxEvents {
		s = s.FailBoot(slotA, long).FailBoot(slotB, long)
	}
	for i := range bootctl.MaxDenied {
		s.Denied = append(s.Denied, string(rune('a'+i))+long)
	}
	s.OneShot, s.Reset, s.Fallback, s.Floor = recovery, bootctl.ResetRequested, long, long
	s.LastBoot = bootctl.Boot{Slot: recovery, Confirmed: true, OneShot: true, Try: 255, Reason: long, Failure: long, Unwell: true}
	for i := range s.Slots {
		e := &s.Slots[i]
		e.TriesLeft, e.FailedBoots, e.Order, e.Rebuilt = 255, 255, 1<<32-1, true
		e.Downgrade, e.Proven, e.Kept, e.Status = true, true, true, bootctl.Held
	}
	return s
}

func TestLargestStateFits(t *testing.T) {
	for name, unit := range map[string]string{
		"plain":             "x",
		"quotes":            `"`,
		"backslashes":       `\`,
		"newlines":          "\n",
		"zero bytes":        "\x00",
		"not UTF-8":         "\xff\xfe",
		"umlauts":           "ä",
		"line separators":   "\u2028",
		"angle brackets":    "<&>",
		"four-byte letters": "𝔸",
	} {
		for _, n := range []int{1, 30, 70, 10_000} {
			want := largest(unit, n)
			dev := formatted(t, want)
			got := load(t, dev)
			again := load(t, formatted(t, got))
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("%d × %s: what was loaded is saved otherwise (-first +second):\n%s", n, name, diff)
			}
			if len(got.Denied) != bootctl.MaxDenied {
				t.Errorf("%d × %s: %d denied digests are left of %d", n, name, len(got.Denied), bootctl.MaxDenied)
			}
			if len(got.Events) == 0 {
				t.Errorf("%d × %s: no event is left", n, name)
			}
			if got.Slots[1].TriesLeft != 255 || got.OneShot != recovery || got.LastBoot.Try != 255 {
				t.Errorf("%d × %s: numbers changed: %+v", n, name, got)
			}
		}
	}
}

// Usual states lose nothing.
func TestUsualStateKeepsAllEvents(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	d := fresh(t)
	d.up()
	for range bootctl.MaxEvents {
		d.apply(slotB, bootctl.SlotInfo{Version: "2024.10.1", Digest: digest, RootHash: digest[7:], Image: "docker://registry.example.com/team/os:stable"})
		d.boots(3)
		d.up()
	}
	got := load(t, formatted(t, d.s))
	if diff := cmp.Diff(d.s, got); diff != "" {
		t.Errorf("state after Save and Load (-want +got):\n%s", diff)
	}
}

func TestTextsAreCleaned(t *testing.T) {
	s := bootctl.New().FailBoot(slotA, "reading \"x\":\n\tc:\\y \xff")
	want := "reading 'x':??c:/y ?"
	if got := load(t, formatted(t, s)).Slots[0].LastFailure; got != want {
		t.Errorf("LastFailure = %q; want %q", got, want)
	}
	s = bootctl.New().FailBoot(slotA, strings.Repeat("ä", 1000))
	if got := load(t, formatted(t, s)).Slots[0].LastFailure; got != strings.Repeat("ä", 80) {
		t.Errorf("LastFailure is %d bytes, %q; want 80 whole letters", len(got), got)
	}
}

func TestRecordsThatNobodyWrote(t *testing.T) {
	good := formatted(t, bootctl.New()).Bytes()[:bootctl.RecordSize]
	with := func(payload string) func(b []byte) {
		return func(b []byte) {
			clear(b[32:])
			binary.LittleEndian.PutUint32(b[12:], uint32(copy(b[32:], payload)))
		}
	}
	for _, tt := range []struct {
		name   string
		change func(b []byte)
		valid  bool
	}{
		{"untouched", func([]byte) {}, true},
		{"no magic", func(b []byte) { b[0] = 'x' }, false},
		{"format 0", func(b []byte) { b[8] = 0 }, false},
		{"payload longer than the record", func(b []byte) { b[14] = 1 }, false},
		{"payload of 2^32-1 bytes", func(b []byte) { copy(b[12:], "\xff\xff\xff\xff") }, false},
		{"no payload", with(""), false},
		{"half an object", with(`{"slots":[`), false},
		{"two objects", with(`{"slots":[{"status":"empty"},{"status":"empty"}]}{}`), false},
		{"no slots", with(`{}`), false},
		{"one slot", with(`{"slots":[{"status":"empty"}]}`), false},
		{"a status that does not exist", with(`{"slots":[{"status":"empty"},{"status":"fine"}]}`), false},
		{"a slot that does not exist", with(`{"slots":[{"status":"empty"},{"status":"good"}],"one_shot":"c"}`), false},
		{"a reset that does not exist", with(`{"slots":[{"status":"empty"},{"status":"good"}],"reset":"half"}`), false},
		{"tries that are no byte", with(`{"slots":[{"status":"empty","tries_left":256},{"status":"good"}]}`), false},
		{"a field of a later revision", with(`{"slots":[{"status":"empty","x":1},{"status":"good"}],"y":[2]}`), true},
	} {
		b := bytes.Clone(good)
		tt.change(b)
		seal(b)
		dev := blockdev.NewMemory(make([]byte, bootctl.PartitionSize))
		if _, err := dev.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		_, err := bootctl.Open(dev).Load()
		if tt.valid && err != nil || !tt.valid && !errors.Is(err, bootctl.ErrNoState) {
			t.Errorf("%s: Load() = %v; want valid: %v", tt.name, err, tt.valid)
		}
	}
}

// FuzzRecord loads hostile records, with a right checksum and without. What
// is accepted survives a save, and boots something.
func FuzzRecord(f *testing.F) {
	for _, s := range []bootctl.State{bootctl.New(), largest("x", 1), largest("ä", 3)} {
		b := formatted(f, s).Bytes()
		f.Add(b[:32], bytes.TrimRight(b[32:bootctl.RecordSize], "\x00"), true)
	}
	f.Add([]byte("ABUPSTAT"), []byte("{}"), false)
	empty := blockdev.NewMemory(make([]byte, bootctl.PartitionSize))
	f.Fuzz(func(t *testing.T, header, payload []byte, sealed bool) {
		b := make([]byte, bootctl.RecordSize)
		copy(b[32:], payload)
		copy(b[:32], header)
		if sealed {
			binary.LittleEndian.PutUint32(b[12:], uint32(len(payload)))
			seal(b)
		}
		img := blockdevtest.NewImage(empty)
		if _, err := img.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		st := bootctl.Open(img)
		s, err := st.Load()
		if err != nil {
			if !errors.Is(err, bootctl.ErrNoState) && !errors.Is(err, bootctl.ErrNewer) {
				t.Fatalf("Load() = %v; want ErrNoState or ErrNewer", err)
			}
			return
		}
		c, next := s.Next()
		if c.Slot != recovery && s.CheckBootable(c.Slot) != nil {
			t.Fatalf("Next() = %+v from %+v", c, s)
		}
		if err := st.Save(next); err != nil {
			t.Fatalf("Save() = %v", err)
		}
		got, err := st.Load()
		if err != nil || got.LastBoot.Slot != c.Slot || got.Slots[0].Status != next.Slots[0].Status || got.Slots[1].TriesLeft != next.Slots[1].TriesLeft {
			t.Fatalf("Load() = %+v, %v; want %+v", got, err, next)
		}
	})
}
