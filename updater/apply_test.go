package updater_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	selector "github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// images is a layout with a system and what may follow it.
var images, removeImages = ut.Shared(map[string]ut.Image{
	"v1":         {Version: "1.0", Noise: 300_000, Files: map[string]string{"etc/motd": "one"}},
	"v2":         {Version: "2.0", Noise: 400_000, Files: map[string]string{"etc/motd": "two"}},
	"v0":         {Version: "0.9"},
	"arm64":      {Version: "2.0", Arch: "arm64"},
	"huge":       {Version: "2.0", Noise: 3 * int(ut.SlotSize)},
	"large":      {Version: "2.0", Noise: int(ut.SlotSize) + 1000},
	"nokernel":   {Version: "2.0", Kernel: ut.NoKernel},
	"compatible": {Version: "3.0", Labels: map[string]string{"org.abupdate.compatible": "board1"}},
	"floor":      {Version: "5.0", Labels: map[string]string{"org.abupdate.min-version": "4"}},
	// What these are, only their files say.
	"kernel": {Version: "2.0", Kernel: "6.9.9"},
	"kargs":  {Version: "2.0", Files: map[string]string{"usr/lib/abupdate/kargs.d/a.toml": "kargs = ['quiet']\n"}},
	"low":    {Files: map[string]string{"etc/os-release": "VERSION_ID=0.5\n"}},
	"plain":  {Noise: 50_000, Files: map[string]string{"etc/os-release": "VERSION_ID=2.5\n"}},
	// A content whose first name is hidden, and one that is hidden under a
	// name that only the lower layer explains.
	"twice": {Version: "2.0", Noise: 50_000, Files: map[string]string{
		"etc/a": "first name", "etc/b": "=> etc/a", "usr/lib/x": "hidden by a symlinked parent", "lib": "-> usr/lib",
	}, Upper: map[string]string{"etc/.wh.a": "", "lib/x": "shown"}},
})

func TestMain(m *testing.M) {
	code := m.Run()
	removeImages()
	os.Exit(code)
}

// update builds an image of dir and returns the update's reference.
func update(t *testing.T, dir, tag string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "updates")
	built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + dir + ":" + tag, Dir: out, Tag: tag})
	if err != nil {
		t.Fatal(err)
	}
	return "oci:" + built.Dir + ":" + tag
}

func open(t *testing.T, path string) *updater.System {
	t.Helper()
	sys, err := updater.Open(updater.OpenOptions{Disk: path, Access: updater.Change})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Close() })
	return sys
}

func state(t *testing.T, path string) bootctl.State {
	t.Helper()
	dev, err := blockdev.Open(path, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	return ut.State(t, dev)
}

func TestApply(t *testing.T) {
	dir := images(t)
	for _, tt := range []struct {
		name, ref string
		isUpdate  bool
	}{
		{"an ordinary image", "oci:" + dir + ":v2", false},
		{"an update", update(t, dir, "v2"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := ut.Disk(t, "oci:"+dir+":v1")
			sys := open(t, path)
			got, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: tt.ref})
			if err != nil {
				t.Fatal(err)
			}
			if got.Slot != bootctl.SlotB || got.Version != "2.0" || got.Update != tt.isUpdate || got.RootHash == "" {
				t.Errorf("Apply() = %+v; want version 2.0 in slot b", got)
			}
			st := state(t, path)
			want := bootctl.SlotState{
				Status: bootctl.Pending, TriesLeft: bootctl.DefaultTries, Order: st.Slot(bootctl.SlotB).Order,
				Version: "2.0", Digest: got.Digest, RootHash: got.RootHash, Image: tt.ref,
			}
			if diff := cmp.Diff(want, *st.Slot(bootctl.SlotB)); diff != "" {
				t.Errorf("slot b (-want +got):\n%s", diff)
			}
			if next := st.Active(); next != bootctl.SlotB {
				t.Errorf("slot %v boots next; want b", next)
			}
			if _, err := sys.Verify(t.Context(), nil, nil); err != nil {
				t.Errorf("Verify() = %v", err)
			}
			_, err = sys.Apply(t.Context(), updater.ApplyOptions{Ref: tt.ref})
			if fault.KindOf(err) != fault.Nothing {
				t.Errorf("Apply() again = %v; want an error of kind %d", err, fault.Nothing)
			}
		})
	}
}

// The device's own root hash of an ordinary image is the one that build makes.
func TestApplyImageAndUpdateMakeTheSameSlot(t *testing.T) {
	dir := images(t)
	var hashes [2]string
	for i, ref := range []string{"oci:" + dir + ":v2", update(t, dir, "v2")} {
		got, err := open(t, ut.EmptyDisk(t)).Apply(t.Context(), updater.ApplyOptions{Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		hashes[i] = got.RootHash
	}
	if hashes[0] != hashes[1] {
		t.Errorf("root hashes %s of the image, %s of the update; want the same", hashes[0], hashes[1])
	}
}

func TestApplyRefuses(t *testing.T) {
	dir := images(t)
	ref := func(tag string) string { return "oci:" + dir + ":" + tag }
	v2 := update(t, dir, "v2")
	for _, tt := range []struct {
		name string
		from string // tag of the running image
		ref  string
		prep func(t *testing.T, path string)
		opt  updater.ApplyOptions
		kind fault.Kind // 0: goes through
		says string
		late bool // known only when the slot is written
	}{
		{name: "the running image", ref: ref("v1"), kind: fault.Nothing, says: "is in slot a"},
		{name: "the running image, forced", ref: ref("v1"), opt: updater.ApplyOptions{Allow: updater.Allow{Same: true}}},
		{name: "a lower version", ref: ref("v0"), kind: fault.Refused, says: "version 0.9 is lower than the running 1.0"},
		{name: "a lower version, allowed", ref: ref("v0"), opt: updater.ApplyOptions{Allow: updater.Allow{Downgrade: true}}},
		{name: "another architecture", ref: ref("arm64"), kind: fault.Refused, says: "arm64"},
		{name: "no kernel", ref: ref("nokernel"), kind: fault.Usage, says: "no kernel in the image", late: true},
		{name: "kernel arguments, the selector is older", ref: ref("kargs"), kind: fault.Refused, says: "brings kernel arguments (quiet)", late: true},
		{name: "another kernel and a selector that starts it", ref: ref("kernel"),
			prep: func(t *testing.T, path string) { setKernel(t, path, ut.Kernel, updater.SelectorKexec) }},
		{name: "another kernel, the selector is older", ref: ref("kernel"), kind: fault.Refused, says: "brings kernel 6.9.9; this device can start " + ut.Kernel, late: true},
		{name: "a lower version in os-release", ref: ref("low"), kind: fault.Refused, says: "version 0.5 is lower than the running 1.0", late: true},
		{name: "a lower version in os-release, another one given", ref: ref("low"), opt: updater.ApplyOptions{Source: updater.SourceOptions{Version: "1.5"}}},
		{name: "a lower version in os-release, allowed", ref: ref("low"), opt: updater.ApplyOptions{Allow: updater.Allow{Downgrade: true}}},
		{name: "a lower version given", ref: ref("plain"), opt: updater.ApplyOptions{Source: updater.SourceOptions{Version: "0.1"}}, kind: fault.Refused, says: "lower"},
		{name: "other devices", from: "compatible", ref: ref("v2"), kind: fault.Refused, says: `the device is "board1"`,
			opt: updater.ApplyOptions{Allow: updater.Allow{Downgrade: true}}},
		{name: "too old for it", ref: ref("floor"), kind: fault.Refused, says: "asks for version 4"},
		{name: "an image that cannot fit", ref: ref("huge"), kind: fault.NoRoom, says: "cannot fit"},
		{name: "an update that does not fit", ref: update(t, dir, "large"), kind: fault.NoRoom, says: "slot b holds"},
		{name: "no such layout", ref: "oci:/nonexistent:v1", kind: fault.Usage, says: "/nonexistent"},
		{name: "no such tag", ref: ref("v7"), kind: fault.Usage, says: "v7"},
		{name: "an image that failed here", ref: ref("v2"), kind: fault.Refused, says: "failed on this device",
			prep: func(t *testing.T, path string) { deny(t, path, ref("v2")) }},
		{name: "an image that failed here, allowed", ref: ref("v2"), opt: updater.ApplyOptions{Allow: updater.Allow{Denied: true}},
			prep: func(t *testing.T, path string) { deny(t, path, ref("v2")) }},
		{name: "an update of an image that failed here", ref: v2, kind: fault.Refused, says: "failed on this device",
			prep: func(t *testing.T, path string) { deny(t, path, ref("v2")) }},
		{name: "a reset under way", ref: ref("v2"), kind: fault.Refused, says: "factory reset",
			prep: func(t *testing.T, path string) { ut.EditState(t, path, bootctl.State.RequestReset) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.from == "" {
				tt.from = "v1"
			}
			path := ut.Disk(t, ref(tt.from))
			if tt.prep != nil {
				tt.prep(t, path)
			}
			if tt.late {
				setKernel(t, path, ut.Kernel, "")
			}
			tt.opt.Ref = tt.ref
			for _, how := range []updater.ApplyOptions{{DryRun: true}, {CheckFirst: true}, {}} {
				opt := tt.opt
				opt.DryRun, opt.CheckFirst = how.DryRun, how.CheckFirst
				if tt.kind != 0 && !tt.late && (opt.DryRun || opt.CheckFirst) {
					continue // refused before they make a difference
				}
				err, changed := tryApply(t, path, opt)
				if fault.KindOf(err) != tt.kind || tt.kind != 0 && !strings.Contains(err.Error(), tt.says) {
					t.Fatalf("Apply(%+v) = %v (kind %d); want kind %d and %q", opt, err, fault.KindOf(err), tt.kind, tt.says)
				}
				late := tt.late && !opt.DryRun && !opt.CheckFirst
				written := tt.kind == 0 && !opt.DryRun
				if changed != (late || written) {
					t.Errorf("Apply(%+v): disk changed: %v; want %v", opt, changed, !changed)
				}
				if late {
					checkGivenUp(t, path, err, tt.says)
				}
				if written {
					return
				}
			}
		})
	}
}

// tryApply says how an Apply ended and whether it changed the disk.
func tryApply(t *testing.T, path string, opt updater.ApplyOptions) (err error, changed bool) {
	t.Helper()
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sys := open(t, path)
	_, err = sys.Apply(t.Context(), opt)
	sys.Close()
	after, readErr := os.ReadFile(path)
	if readErr != nil {
		t.Fatal(readErr)
	}
	return err, string(before) != string(after)
}

// setKernel makes the selector of a disk one that starts a kernel, and says
// more of itself in a line of its os-release.
func setKernel(t *testing.T, path, release, line string) {
	t.Helper()
	var uki bytes.Buffer
	const stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	b, err := os.ReadFile(stub)
	if err != nil {
		t.Fatalf("%v: install the Debian package systemd-boot-efi", err)
	}
	if err := selector.UKI(&uki, b, selector.UKIOptions{Uname: release, OSRelease: "ID=abupdate\n" + line + "\n", Linux: []byte("kernel"), Initrd: []byte("initrd")}); err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteESP(ut.OpenDisk(t, path), map[string][]byte{updater.LoaderPath("amd64"): uki.Bytes()}); err != nil {
		t.Fatal(err)
	}
}

// checkGivenUp makes sure that slot b is empty, with the reason, and all else
// as it was: slot a boots next.
func checkGivenUp(t *testing.T, path string, err error, says string) {
	t.Helper()
	if !strings.Contains(err.Error(), "slot b is empty now") {
		t.Errorf("Apply() = %v; it does not say that slot b is empty", err)
	}
	st := state(t, path)
	got := *st.Slot(bootctl.SlotB)
	if got.Status != bootctl.Empty || !strings.Contains(got.LastFailure, says) || strings.Contains(got.LastFailure, "empty now") {
		t.Errorf("slot b is %+v; want it empty because of %q", got, says)
	}
	if a := *st.Slot(bootctl.SlotA); a.Status != bootctl.Good || st.Active() != bootctl.SlotA {
		t.Errorf("slot a is %+v, %v boots next; want a, good", a, st.Active())
	}
	found, err := open(t, path).Verify(t.Context(), []bootctl.Slot{bootctl.SlotA}, nil)
	if err != nil || found[0].State != updater.Intact {
		t.Errorf("slot a is %+v, %v; want it intact", found, err)
	}
}

// deny makes an image one that fell back.
func deny(t *testing.T, path, ref string) {
	t.Helper()
	sys := open(t, path)
	defer sys.Close()
	if _, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref}); err != nil {
		t.Fatal(err)
	}
	if _, err := sys.MarkBad(bootctl.SlotB, ""); err != nil {
		t.Fatal(err)
	}
}

// An image whose size only shows while it is packed is stopped at the slot's
// end; the slot is empty then and the rest as before.
func TestApplyStopsAtTheSlotsEnd(t *testing.T) {
	dir := images(t)
	path := ut.Disk(t, "oci:"+dir+":v1")
	before := state(t, path)
	_, err := open(t, path).Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + dir + ":large"})
	if fault.KindOf(err) != fault.NoRoom {
		t.Fatalf("Apply() = %v; want kind %d", err, fault.NoRoom)
	}
	st := state(t, path)
	if got := *st.Slot(bootctl.SlotB); got.Status != bootctl.Empty || !strings.Contains(got.LastFailure, "slot") {
		t.Errorf("slot b is %+v; want it empty with the reason", got)
	}
	if diff := cmp.Diff(*before.Slot(bootctl.SlotA), *st.Slot(bootctl.SlotA)); diff != "" {
		t.Errorf("slot a changed (-before +after):\n%s", diff)
	}
	if got := st.Active(); got != bootctl.SlotA {
		t.Errorf("slot %v boots next; want a", got)
	}
}

func TestApplyDryRunWritesNothing(t *testing.T) {
	dir := images(t)
	path := ut.Disk(t, "oci:"+dir+":v1")
	before, _ := os.ReadFile(path)
	sys, err := updater.Open(updater.OpenOptions{Disk: path}) // read only
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	got, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + dir + ":v2", DryRun: true})
	if err != nil || got.Version != "2.0" || got.Slot != bootctl.SlotB || !got.DryRun {
		t.Errorf("Apply() = %+v, %v; want version 2.0 for slot b", got, err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("the disk changed")
	}
}

// On a device apply waits until the running slot is confirmed.
func TestApplyNeedsAConfirmedSystem(t *testing.T) {
	dir := images(t)
	path := ut.Disk(t, "oci:"+dir+":v1")
	ut.EditState(t, path, func(s bootctl.State) bootctl.State {
		_, s = s.Next()
		return s
	})
	dev, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	sys, err := updater.New(dev, &bootctl.Booted{Slot: bootctl.SlotA, Kernel: ut.Kernel})
	if err != nil {
		t.Fatal(err)
	}
	opt := updater.ApplyOptions{Ref: "oci:" + dir + ":v2"}
	if _, err := sys.Apply(t.Context(), opt); fault.KindOf(err) != fault.Refused || !strings.Contains(err.Error(), "not confirmed") {
		t.Errorf("Apply() = %v; want it refused", err)
	}
	if _, err := sys.MarkGood(); err != nil {
		t.Fatal(err)
	}
	if got, err := sys.Apply(t.Context(), opt); err != nil || got.Slot != bootctl.SlotB {
		t.Errorf("Apply() after mark-good = %+v, %v; want slot b", got, err)
	}
}

func TestApplyRefusesAnotherKernel(t *testing.T) {
	dir := images(t)
	path := ut.Disk(t, "oci:"+dir+":v1")
	dev, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	ut.EditState(t, path, func(s bootctl.State) bootctl.State { _, s = s.Next(); s.LastBoot.Confirmed = true; return s })
	for _, tt := range []struct {
		name   string
		booted bootctl.Booted
		kind   fault.Kind
	}{
		{"a selector before kexec", bootctl.Booted{Kernel: "5.10.0"}, fault.Refused},
		{"a selector whose kernel has no kexec", bootctl.Booted{Kernel: "5.10.0", Selector: "5.10.0"}, fault.Refused},
		{"a selector that starts others", bootctl.Booted{Kernel: "5.10.0", Selector: "5.10.0", Kexec: true}, 0},
		{"the slot's kernel after kexec", bootctl.Booted{Kernel: ut.Kernel, Selector: "5.10.0", Kexec: true}, 0},
	} {
		tt.booted.Slot = bootctl.SlotA
		sys, err := updater.New(dev, &tt.booted)
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range []string{"oci:" + dir + ":v2", update(t, dir, "v2")} {
			_, err = sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref, DryRun: true})
			if fault.KindOf(err) != tt.kind || tt.kind != 0 && !strings.Contains(err.Error(), "5.10.0") {
				t.Errorf("%s: Apply(%s) = %v; want kind %d", tt.name, ref, err, tt.kind)
			}
		}
		st, err := sys.Status()
		if err != nil || st.Selector == nil || *st.Selector != (updater.Selector{Kernel: "5.10.0", Kexec: tt.booted.Kexec}) {
			t.Errorf("%s: status tells of the selector %+v, %v", tt.name, st.Selector, err)
		}
	}
}

// Without a reference: the configuration, else where the running slot came
// from.
func TestApplyFindsItsReference(t *testing.T) {
	dir := images(t)
	for _, tt := range []struct {
		name   string
		config updater.Config
		want   string
	}{
		{"configured", updater.Config{Image: "oci:" + dir + ":v2"}, "v2"},
		{"the running slot's", updater.Config{}, "v1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := ut.Disk(t, "oci:"+dir+":v1")
			opt := updater.ApplyOptions{Config: tt.config, DryRun: true, Allow: updater.Allow{Same: true}}
			got, err := open(t, path).Apply(t.Context(), opt)
			if err != nil || !strings.HasSuffix(got.Image, ":"+tt.want) {
				t.Errorf("Apply() = %+v, %v; want image %s", got, err, tt.want)
			}
		})
	}
}

// After a rollback the system that was left stays: to apply it again takes no
// second writing.
func TestApplyAfterRollbackReusesTheSlot(t *testing.T) {
	dir := images(t)
	path := ut.Disk(t, "oci:"+dir+":v1")
	sys := open(t, path)
	opt := updater.ApplyOptions{Ref: "oci:" + dir + ":v2"}
	if _, err := sys.Apply(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	if err := sys.Close(); err != nil {
		t.Fatal(err)
	}
	ut.EditState(t, path, func(s bootctl.State) bootctl.State {
		_, s = s.Next()
		s, err := s.Confirm(bootctl.SlotB)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
	sys = open(t, path)
	if got, err := sys.Rollback(); err != nil || got.Next != bootctl.SlotA {
		t.Fatalf("Rollback() = %+v, %v; want slot a next", got, err)
	}
	sys.Close()
	ut.EditState(t, path, func(s bootctl.State) bootctl.State { _, s = s.Next(); return s })
	sys = open(t, path)
	got, err := sys.Apply(t.Context(), opt)
	if err != nil || !got.Reused || got.Slot != bootctl.SlotB {
		t.Fatalf("Apply() = %+v, %v; want slot b reused", got, err)
	}
	if next := state(t, path).Active(); next != bootctl.SlotB {
		t.Errorf("slot %v boots next; want b", next)
	}
}

// A staged system that was taken back before it booted is staged again, by
// the update of the same image too.
func TestApplyStagesAgain(t *testing.T) {
	dir := images(t)
	path := ut.Disk(t, "oci:"+dir+":v1")
	sys := open(t, path)
	if _, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + dir + ":v2"}); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"oci:" + dir + ":v2", update(t, dir, "v2")} {
		if got, err := sys.Rollback(); err != nil || got.Next != bootctl.SlotA {
			t.Fatalf("Rollback() = %+v, %v; want slot a next", got, err)
		}
		got, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref})
		if err != nil || !got.Reused || state(t, path).Active() != bootctl.SlotB {
			t.Errorf("Apply(%s) = %+v, %v; slot %v next; want b reused and next", ref, got, err, state(t, path).Active())
		}
	}
}

// TestApplyOverStaged replaces an update that is staged on a disk that does not
// run: what counts is the system that stays, not the one that goes.
func TestApplyOverStaged(t *testing.T) {
	dir := images(t)
	path := ut.Disk(t, "oci:"+dir+":v1")
	sys := open(t, path)
	for _, tag := range []string{"compatible", "v2"} {
		got, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + dir + ":" + tag})
		if err != nil || got.Slot != bootctl.SlotB {
			t.Fatalf("Apply(%s) = %+v, %v; want slot b written", tag, got, err)
		}
	}
	after := state(t, path)
	if got := after.Slot(bootctl.SlotB).Version; got != "2.0" {
		t.Errorf("slot b holds version %s; want 2.0", got)
	}
	_, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + dir + ":v0"})
	if fault.KindOf(err) != fault.Refused {
		t.Errorf("Apply(v0) = %v; want it refused, lower than what stays", err)
	}
}

func TestApplyCanceled(t *testing.T) {
	dir := images(t)
	for _, tt := range []struct {
		name string
		ref  string
		at   updater.Step
	}{
		{"image, while it is written", "oci:" + dir + ":v2", updater.StepWrite},
		{"update, while it is written", update(t, dir, "v2"), updater.StepWrite},
		{"update, while it is read back", update(t, dir, "v2"), updater.StepReadBack},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := ut.Disk(t, "oci:"+dir+":v1")
			before := state(t, path)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sys := open(t, path)
			opt := updater.ApplyOptions{Ref: tt.ref, Progress: func(e updater.Event) {
				if e.Step == tt.at {
					cancel()
				}
			}}
			if _, err := sys.Apply(ctx, opt); fault.KindOf(err) != fault.Canceled || !errors.Is(err, context.Canceled) {
				t.Fatalf("Apply() = %v; want it canceled", err)
			}
			st := state(t, path)
			if got := st.Slot(bootctl.SlotB).Status; got != bootctl.Writing {
				t.Errorf("slot b is %s; want writing", got)
			}
			if diff := cmp.Diff(*before.Slot(bootctl.SlotA), *st.Slot(bootctl.SlotA)); diff != "" || st.Active() != bootctl.SlotA {
				t.Errorf("slot a changed, or %v boots next (-before +after):\n%s", st.Active(), diff)
			}
			opt.Progress = nil
			got, err := sys.Apply(t.Context(), opt)
			if err != nil {
				t.Fatalf("Apply() afterwards = %v", err)
			}
			if tt.at == updater.StepReadBack && got.KeptBytes < got.ImageBytes-4096 {
				t.Errorf("kept %d of %d bytes; want all", got.KeptBytes, got.ImageBytes)
			}
		})
	}
}

// TestLongVersion keeps a version whole, or does not take it: versions that
// begin alike would be one to the boot state.
func TestLongVersion(t *testing.T) {
	dir := besideImage(t)
	if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + dir + ":v2", Dir: dir, Tag: "plain"}); err != nil {
		t.Fatal(err)
	}
	long := "2." + strings.Repeat("0", manifest.MaxVersion-2)
	for version, want := range map[string]fault.Kind{long: 0, long + "1": fault.Refused} {
		variant(t, dir, "plain", "long", func(m *manifest.Manifest, u *oci.Update) {
			m.Version = version
			var err error
			if u.Config, err = json.Marshal(m); err != nil {
				t.Fatal(err)
			}
		})
		got, st, err := applyBeside(t, "oci:"+dir+":long", updater.ApplyOptions{})
		if fault.KindOf(err) != want {
			t.Errorf("version of %d bytes: Apply() = %v; want kind %d", len(version), err, want)
		}
		if err == nil && (got.Version != version || st.Slot(bootctl.SlotB).Version != version) {
			t.Errorf("version %s is %s in the slot and %s in the boot state", version, got.Version, st.Slot(bootctl.SlotB).Version)
		}
	}
}
