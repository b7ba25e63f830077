package bootctl_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
)

func found(slot bootctl.Slot, version, created string) bootctl.Found {
	return bootctl.Found{Slot: slot, SlotInfo: bootctl.SlotInfo{Version: version, Digest: "sha256:" + version}, Created: created}
}

func TestRebuild(t *testing.T) {
	for _, tt := range []struct {
		name  string
		found []bootctl.Found
		want  string // boots that nobody confirms
	}{
		{"nothing found", nil, "recovery recovery"},
		{"only A: a power cut must not use up its only try", []bootctl.Found{found(slotA, "1", "")}, "a a a recovery"},
		{"the newer version once, then the older one", []bootctl.Found{found(slotA, "1", ""), found(slotB, "2", "")}, "b a a a recovery"},
		{"as numbers", []bootctl.Found{found(slotA, "1.10", ""), found(slotB, "1.9", "")}, "a b b b recovery"},
		{"equal versions: the one created later", []bootctl.Found{found(slotA, "1", "2024-01-01T00:00:00Z"), found(slotB, "1", "2024-02-01T00:00:00Z")}, "b a a a recovery"},
		{"nothing to tell them apart: A", []bootctl.Found{found(slotB, "1", ""), found(slotA, "1", "")}, "a b b b recovery"},
		{"the golden image is no slot to boot", []bootctl.Found{found(recovery, "9", ""), found(slotB, "1", "")}, "b b b recovery"},
	} {
		d := &device{t, bootctl.Rebuild(tt.found...)}
		if got := d.boots(strings.Count(tt.want, " ") + 1); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
		if len(d.s.Denied) > 0 {
			t.Errorf("%s: denied are %v; nothing is known against them", tt.name, d.s.Denied)
		}
	}
	d := &device{t, bootctl.Rebuild(found(slotA, "1", ""), found(slotB, "2", ""))}
	if e := d.s.Events; len(e) != 1 || e[0].Event != "rebuilt" {
		t.Errorf("events are %+v; want one, rebuilt", e)
	}
	if d.up() != slotB || d.s.Slot(slotB).Status != bootctl.Good || d.s.Slot(slotB).Rebuilt {
		t.Errorf("slot b after it was confirmed is %+v; want good", *d.s.Slot(slotB))
	}
}

func TestCompareVersions(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg")
	if err != nil {
		t.Fatal("dpkg is missing: install the Debian package dpkg")
	}
	versions := []string{"0", "1", "1.0", "1.0.0", "1.9", "1.10", "1.10a", "1.10b", "1.10~rc1", "1.10~rc1~a", "2024.01.02", "2024.1.3",
		"20240102", "20240102T0304", "1.0+git5", "1.0.1", "01", "1a1", "1a01", "1a10", "1~", "1~~"}
	for i, a := range versions {
		for _, b := range versions[:i] {
			want := 1
			if exec.Command(dpkg, "--compare-versions", a, "lt", b).Run() == nil {
				want = -1
			} else if exec.Command(dpkg, "--compare-versions", a, "eq", b).Run() == nil {
				want = 0
			}
			if got := bootctl.CompareVersions(a, b); got != want {
				t.Errorf("CompareVersions(%q, %q) = %d; dpkg says %d", a, b, got, want)
			}
			if got := bootctl.CompareVersions(b, a); got != -want {
				t.Errorf("CompareVersions(%q, %q) = %d; want %d", b, a, got, -want)
			}
		}
	}
	for _, v := range []string{"", "v1.2-3_x", "büro", "\xff", strings.Repeat("9", 100)} {
		if got := bootctl.CompareVersions(v, v); got != 0 {
			t.Errorf("CompareVersions(%q, itself) = %d; want 0", v, got)
		}
	}
}

func TestSlot(t *testing.T) {
	for slot, name := range map[bootctl.Slot]string{none: "none", slotA: "a", slotB: "b", recovery: "recovery"} {
		if got := slot.String(); got != name {
			t.Errorf("String() = %q; want %q", got, name)
		}
		if got, err := bootctl.ParseSlot(name); got != slot || err != nil {
			t.Errorf("ParseSlot(%q) = %v, %v; want %v", name, got, err, slot)
		}
		b, err := json.Marshal(slot)
		if err != nil || string(b) != `"`+name+`"` {
			t.Errorf("JSON of %v is %s, %v; want %q", slot, b, err, name)
		}
		var got bootctl.Slot
		if err := json.Unmarshal(b, &got); err != nil || got != slot {
			t.Errorf("JSON %s gives %v, %v; want %v", b, got, err, slot)
		}
	}
	for _, name := range []string{"", "A", "c", "root-a"} {
		if got, err := bootctl.ParseSlot(name); err == nil {
			t.Errorf("ParseSlot(%q) = %v; want an error", name, got)
		}
	}
	if _, err := json.Marshal(bootctl.Slot(9)); err == nil {
		t.Error("slot 9 has a JSON text")
	}
	if got := bootctl.Slot(9).String(); got != "slot(9)" {
		t.Errorf("String() = %q; want slot(9)", got)
	}
	if slotA.Other() != slotB || slotB.Other() != slotA || recovery.Other() != none || none.Other() != none {
		t.Error("Other() is not the other one of a and b")
	}
}
