package updater_test

import (
	"os"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
	"github.com/abupdate/abupdate/updater/trust/keys"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// hold applies an image and leaves the switch for later.
func hold(t *testing.T, path, ref string) {
	t.Helper()
	sys := open(t, path)
	defer sys.Close()
	got, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref, StageOnly: true})
	if err != nil || !got.Held {
		t.Fatalf("Apply() = %+v, %v; want it held", got, err)
	}
}

func TestStageOnly(t *testing.T) {
	dir := images(t)
	for _, ref := range []string{"oci:" + dir + ":v2", update(t, dir, "v2")} {
		path := ut.Disk(t, "oci:"+dir+":v1")
		hold(t, path, ref)
		st := state(t, path)
		if e := *st.Slot(bootctl.SlotB); e.Status != bootctl.Held || e.Version != "2.0" || st.Active() != bootctl.SlotA {
			t.Errorf("slot b is %+v, %v boots next; want it held, a", e, st.Active())
		}
		sys := open(t, path)
		if _, err := sys.Verify(t.Context(), []bootctl.Slot{bootctl.SlotB}, nil); err != nil {
			t.Errorf("Verify() = %v", err)
		}
		got, err := sys.Status()
		if err != nil || got.Held == nil || *got.Held != bootctl.SlotB || got.Pending != nil || got.Slots["b"].State != bootctl.Held {
			t.Errorf("Status() = %+v, %v; want b held", got, err)
		}
		_, err = sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref, StageOnly: true})
		if fault.KindOf(err) != fault.Nothing {
			t.Errorf("Apply() of what is held already = %v; want kind %d", err, fault.Nothing)
		}
		again, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref})
		if err != nil || !again.Reused || again.Held {
			t.Errorf("Apply() without StageOnly = %+v, %v; want what is there switched to", again, err)
		}
		if next := state(t, path).Active(); next != bootctl.SlotB {
			t.Errorf("slot %v boots next; want b", next)
		}
	}
}

// Switch asks nobody: what the image came from is gone.
func TestSwitch(t *testing.T) {
	dir := images(t)
	path := ut.Disk(t, "oci:"+dir+":v1")
	sys := open(t, path)
	if _, err := sys.Switch(t.Context(), updater.Allow{}, nil); fault.KindOf(err) != fault.Nothing {
		t.Errorf("Switch() of nothing = %v; want kind %d", err, fault.Nothing)
	}
	sys.Close()
	ref := update(t, dir, "v2")
	hold(t, path, ref)
	before := *ptr(state(t, path)).Slot(bootctl.SlotB)
	if err := os.RemoveAll(strings.TrimSuffix(strings.TrimPrefix(ref, "oci:"), ":v2")); err != nil {
		t.Fatal(err)
	}
	sys = open(t, path)
	got, err := sys.Switch(t.Context(), updater.Allow{}, nil)
	if err != nil || got.Slot != bootctl.SlotB || got.Version != "2.0" || got.Digest != before.Digest || !got.Reused || got.FetchedBytes != 0 {
		t.Fatalf("Switch() = %+v, %v; want version 2.0 in slot b", got, err)
	}
	st := state(t, path)
	if e := *st.Slot(bootctl.SlotB); e.Status != bootctl.Pending || e.TriesLeft != bootctl.DefaultTries || e.Info() != before.Info() || st.Active() != bootctl.SlotB {
		t.Errorf("slot b is %+v; want it pending, otherwise as before: %+v", e, before)
	}
	if _, err := sys.Switch(t.Context(), updater.Allow{}, nil); fault.KindOf(err) != fault.Nothing {
		t.Errorf("Switch() again = %v; want kind %d", err, fault.Nothing)
	}
}

func ptr[T any](v T) *T { return &v }

// What rotted while it was held is not switched to.
func TestSwitchReadsTheSlot(t *testing.T) {
	dir := images(t)
	path := ut.Disk(t, "oci:"+dir+":v1")
	hold(t, path, "oci:"+dir+":v2")
	damage(t, path, bootctl.SlotB, 100_000)
	sys := open(t, path)
	if _, err := sys.Switch(t.Context(), updater.Allow{}, nil); fault.KindOf(err) != fault.Verify {
		t.Errorf("Switch() = %v; want kind %d", err, fault.Verify)
	}
	if next := state(t, path).Active(); next != bootctl.SlotA {
		t.Errorf("slot %v boots next; want a", next)
	}
}

// Keys that came since it was held count. An ordinary image has no signature in
// its slot: it counts whose was found when it was held.
func TestSwitchChecksSignatures(t *testing.T) {
	key := newKey(t, keys.P256)
	dir := besideImage(t)
	image := "oci:" + dir + ":v2"
	if _, err := updater.Sign(t.Context(), image, []*keys.Private{key}, oci.Options{}); err != nil {
		t.Fatal(err)
	}
	other := besideImage(t)
	if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + other + ":v2", Dir: other, Tag: "plain"}); err != nil {
		t.Fatal(err)
	}
	claims := "oci:" + other + ":claims"
	variant(t, other, "plain", "claims", func(m *manifest.Manifest, _ *oci.Update) { m.SourceSigner = key.Public().ID })
	for _, tt := range []struct {
		name, ref     string
		held, trusted []string // keys when it was held, and when it is switched to
		kind          fault.Kind
	}{
		{"no keys", signedUpdate(t, "v2"), nil, nil, 0},
		{"signed", signedUpdate(t, "v2", key), nil, []string{trustDir(t, key)}, 0},
		{"signed by another", signedUpdate(t, "v2", newKey(t, keys.P256)), nil, []string{trustDir(t, key)}, fault.Verify},
		{"unsigned", signedUpdate(t, "v2"), nil, []string{trustDir(t, key)}, fault.Verify},
		{"an image, no keys", image, nil, nil, 0},
		{"an image that was checked", image, []string{trustDir(t, key)}, []string{trustDir(t, key)}, 0},
		{"an image that was checked by a key that is trusted no more", image, []string{trustDir(t, key)}, []string{trustDir(t, newKey(t, keys.P256))}, fault.Verify},
		{"an image that was not checked", image, nil, []string{trustDir(t, key)}, fault.Verify},
		{"an update that says it was checked", claims, nil, []string{trustDir(t, key)}, fault.Verify},
	} {
		path := ut.Disk(t, "oci:"+images(t)+":v1")
		if _, err := applying(t, path, updater.ApplyOptions{Ref: tt.ref, StageOnly: true}, tt.held...); err != nil {
			t.Fatal(err)
		}
		sys, err := updater.Open(updater.OpenOptions{Disk: path, Access: updater.Change, Trust: tt.trusted})
		if err != nil {
			t.Fatal(err)
		}
		got, err := sys.Switch(t.Context(), updater.Allow{}, nil)
		sys.Close()
		if err == nil && (got.SignedBy == "") != (len(tt.trusted) == 0) {
			t.Errorf("%s: Switch() says it is signed by %q", tt.name, got.SignedBy)
		}
		if want := map[bool]bootctl.Slot{true: bootctl.SlotB, false: bootctl.SlotA}[tt.kind == 0]; fault.KindOf(err) != tt.kind || state(t, path).Active() != want {
			t.Errorf("%s: Switch() = %v, %v boots next; want kind %d, %v", tt.name, err, state(t, path).Active(), tt.kind, want)
		}
	}
}

// damage changes one bit of a slot.
func damage(t *testing.T, path string, slot bootctl.Slot, off int64) {
	t.Helper()
	dev, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	flip(t, ut.Slot(t, ut.DiskOn(t, dev), slot), off)
}

func TestCancel(t *testing.T) {
	dir := images(t)
	ref := update(t, dir, "v2")
	for _, stageOnly := range []bool{true, false} {
		path := ut.Disk(t, "oci:"+dir+":v1")
		sys := open(t, path)
		if _, err := sys.Cancel(); fault.KindOf(err) != fault.Nothing {
			t.Errorf("Cancel() of nothing = %v; want kind %d", err, fault.Nothing)
		}
		if _, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref, StageOnly: stageOnly}); err != nil {
			t.Fatal(err)
		}
		before := state(t, path)
		got, err := sys.Cancel()
		if err != nil || got.Slot != bootctl.SlotB || got.Next != bootctl.SlotA || got.Version != "2.0" || !got.Changed {
			t.Fatalf("Cancel() = %+v, %v; want slot b, a next", got, err)
		}
		st := state(t, path)
		if e := *st.Slot(bootctl.SlotB); st.Active() != bootctl.SlotA || e.Status != bootctl.Writing || e.LastFailure != "canceled" {
			t.Errorf("slot b is %+v, %v boots next; want it canceled, a", e, st.Active())
		}
		if *before.Slot(bootctl.SlotA) != *st.Slot(bootctl.SlotA) && stageOnly {
			t.Errorf("slot a is %+v; was %+v", *st.Slot(bootctl.SlotA), *before.Slot(bootctl.SlotA))
		}
		found, err := sys.Verify(t.Context(), nil, nil)
		if err != nil || found[0].State != updater.Intact || found[1].State != updater.Nothing {
			t.Errorf("Verify() = %+v, %v; want a intact, b empty", found, err)
		}
		if _, err := sys.Cancel(); fault.KindOf(err) != fault.Nothing {
			t.Errorf("Cancel() again = %v; want kind %d", err, fault.Nothing)
		}
		again, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref})
		if err != nil || again.KeptBytes != again.ImageBytes {
			t.Errorf("Apply() after it = %+v, %v; want everything kept", again, err)
		}
	}
}

// confirmed makes a disk one that runs what slot A holds.
func confirmed(t *testing.T, path string) {
	t.Helper()
	ut.EditState(t, path, func(s bootctl.State) bootctl.State {
		c, s := s.Next()
		s, err := s.Confirm(c.Slot)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// A lower version than was ever confirmed is refused, though a lower one runs
// since a rollback; with an order it is taken, and lowers the floor when it is
// confirmed.
func TestVersionFloor(t *testing.T) {
	dir := images(t)
	path := ut.Disk(t, "oci:"+dir+":v1")
	confirmed(t, path)
	sys := open(t, path)
	apply := func(tag string, opt updater.ApplyOptions) error {
		opt.Ref = "oci:" + dir + ":" + tag
		_, err := sys.Apply(t.Context(), opt)
		return err
	}
	if err := apply("v2", updater.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	confirmed(t, path)
	if _, err := sys.Rollback(); err != nil {
		t.Fatal(err)
	}
	confirmed(t, path)
	if got := state(t, path).Floor; got != "2.0" {
		t.Fatalf("floor is %q after 2.0 was confirmed and rolled back; want 2.0", got)
	}
	for _, opt := range []updater.ApplyOptions{{}, {DryRun: true}, {StageOnly: true}, {CheckFirst: true}} {
		opt.Source.Version = "1.5"
		err := apply("plain", opt)
		if fault.KindOf(err) != fault.Refused || !strings.Contains(err.Error(), "version 1.5 is lower than 2.0, which was confirmed") {
			t.Errorf("Apply(%+v) = %v; want it refused for the floor", opt, err)
		}
	}
	opt := updater.ApplyOptions{Allow: updater.Allow{Downgrade: true}}
	opt.Source.Version = "1.5"
	if err := apply("plain", opt); err != nil {
		t.Fatal(err)
	}
	if got := state(t, path).Floor; got != "2.0" {
		t.Errorf("floor is %q before the downgrade is confirmed; want 2.0", got)
	}
	confirmed(t, path)
	if got := state(t, path).Floor; got != "1.5" {
		t.Errorf("floor is %q when the downgrade is confirmed; want 1.5", got)
	}
	if st, err := sys.Status(); err != nil || st.Floor != "1.5" {
		t.Errorf("Status() tells of floor %q, %v; want 1.5", st.Floor, err)
	}
}

// The boot state knows which versions compose makes from digests.
func TestDigestVersionsHaveNoOrder(t *testing.T) {
	if v := compose.DigestVersion + "0123456789ab"; bootctl.Ordered(v) {
		t.Errorf("Ordered(%q) = true", v)
	}
}

// TestSwitchOfUnsigned refuses what the initramfs would not start, also when it
// has keys only since the slot was written.
func TestSwitchOfUnsigned(t *testing.T) {
	path := runningDisk(t)
	sys := bootedOpen(t, path, bootctl.Booted{})
	if _, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + images(t) + ":v2", StageOnly: true}); err != nil {
		t.Fatal(err)
	}
	sys.Close()
	_, err := bootedOpen(t, path, bootctl.Booted{SignedOnly: true}).Switch(t.Context(), updater.Allow{}, nil)
	st := state(t, path)
	if got := st.Slot(bootctl.SlotB).Status; fault.KindOf(err) != fault.Verify || !strings.Contains(err.Error(), "unsigned") || got != bootctl.Held {
		t.Errorf("Switch() = %v, slot b %v; want kind %d, and the slot held", err, got, fault.Verify)
	}
}
