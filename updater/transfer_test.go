package updater_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	fs "github.com/abupdate/abupdate/internal/faultserver"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// threeVersions is a system in three versions, each with a file in common with the
// one before, and one of its own.
func threeVersions(t *testing.T) (layout string) {
	t.Helper()
	version := func(v string, files ...string) ut.Image {
		im := ut.Image{Version: v, Files: make(map[string]string)}
		for _, name := range files {
			im.Files["usr/share/"+name] = ut.Noise(name, 400_000)
		}
		return im
	}
	return ut.Layout(t, map[string]ut.Image{
		"v1": version("1.0", "a", "b", "c"), "v2": version("2.0", "b", "c", "d"), "v3": version("3.0", "c", "d", "e"),
	})
}

// updates builds updates of all versions into one layout, and serves it.
func updates(t *testing.T, dir string) (srv *fs.Server, ref func(tag string) string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "updates")
	for _, tag := range []string{"v1", "v2", "v3"} {
		if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + dir + ":" + tag, Dir: out, Tag: tag}); err != nil {
			t.Fatal(err)
		}
	}
	srv = fs.New(out)
	host := srv.Start(t)
	return srv, func(tag string) string { return host + "/os:" + tag }
}

func fetchOptions(ref string) updater.ApplyOptions {
	return updater.ApplyOptions{Ref: ref, Source: updater.SourceOptions{Registry: oci.Options{Insecure: true}}}
}

// between fails the test unless got is within two percentages of all.
func between(t *testing.T, what string, got, all, low, high int64) {
	t.Helper()
	if got*100 < all*low || got*100 > all*high {
		t.Errorf("%s: %d bytes of %d; want %d to %d %%", what, got, all, low, high)
	}
}

func TestApplyFetchesTheDifference(t *testing.T) {
	srv, ref := updates(t, threeVersions(t))
	path := ut.Disk(t, "oci:"+threeVersions(t)+":v1")
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sys := open(t, path)
	opt := fetchOptions(ref("v2"))
	opt.DryRun = true
	dry, err := sys.Apply(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("a dry run changed the disk")
	}
	if got := srv.Total(fs.Data); got.Bytes != 0 {
		t.Errorf("a dry run fetched %d bytes of the image", got.Bytes)
	}
	between(t, "dry run: would fetch", dry.FetchedBytes, dry.ImageBytes, 30, 40)
	srv.Forget()
	opt.DryRun = false
	var last updater.Event
	opt.Progress = func(e updater.Event) {
		if e.Step == updater.StepWrite {
			last = e
		}
	}
	got, err := sys.Apply(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	data := srv.Total(fs.Data)
	if got.FetchedBytes != data.Bytes || got.FetchedRanges != data.Requests || data.Ranges != data.Requests {
		t.Errorf("Apply() says %d bytes in %d ranges; the server gave %+v", got.FetchedBytes, got.FetchedRanges, data)
	}
	if got.FetchedBytes != dry.FetchedBytes || got.CopiedBytes != dry.CopiedBytes || got.FetchedRanges != dry.FetchedRanges {
		t.Errorf("Apply() = %+v; the dry run said %+v", got, dry)
	}
	meta := srv.Total(fs.Tree, fs.Config, fs.Manifest, fs.Layer)
	if got.MetadataBytes != meta.Bytes {
		t.Errorf("Apply() says %d bytes of metadata; the server gave %d", got.MetadataBytes, meta.Bytes)
	}
	if got.Transfer != "delta" {
		t.Errorf("the update came by %q; want a delta", got.Transfer)
	}
	if last.Done != got.ImageBytes || last.Fetched != got.FetchedBytes || last.Copied != got.CopiedBytes || last.ToFetch != got.FetchedBytes {
		t.Errorf("the last progress is %+v; want all of %+v", last, got)
	}
	if _, err := sys.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
}

// The slot that is written is a source too: here it holds the version before,
// which fell back.
func TestApplyTakesFromTheSlotThatItWrites(t *testing.T) {
	srv, ref := updates(t, threeVersions(t))
	path := ut.Disk(t, "oci:"+threeVersions(t)+":v1")
	sys := open(t, path)
	if _, err := sys.Apply(t.Context(), fetchOptions(ref("v2"))); err != nil {
		t.Fatal(err)
	}
	if _, err := sys.MarkBad(bootctl.SlotB, ""); err != nil {
		t.Fatal(err)
	}
	srv.Forget()
	got, err := sys.Apply(t.Context(), fetchOptions(ref("v3")))
	if err != nil {
		t.Fatal(err)
	}
	// Of c, d and e only c is in the running slot.
	between(t, "fetched", got.FetchedBytes, got.ImageBytes, 30, 45)
	if _, err := sys.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
}

func TestApplyFull(t *testing.T) {
	srv, ref := updates(t, threeVersions(t))
	path := ut.Disk(t, "oci:"+threeVersions(t)+":v1")
	opt := fetchOptions(ref("v2"))
	opt.Transfer.Full = true
	got, err := open(t, path).Apply(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	between(t, "fetched", srv.Total(fs.Data).Bytes, got.ImageBytes, 95, 100)
	if got.Transfer != "full" {
		t.Errorf("the update came by %q; want all of it", got.Transfer)
	}
}

func TestApplyWithoutRanges(t *testing.T) {
	srv, ref := updates(t, threeVersions(t))
	path := ut.Disk(t, "oci:"+threeVersions(t)+":v1")
	srv.Set(fs.On(fs.NoRanges(), fs.Data))
	sys := open(t, path)
	opt := fetchOptions(ref("v2"))
	opt.Transfer.NoFull = true
	_, err := sys.Apply(t.Context(), opt)
	if fault.KindOf(err) != fault.Network || !strings.Contains(err.Error(), "only all of the image could be had") {
		t.Errorf("Apply() = %v; want kind %d", err, fault.Network)
	}
	if got := state(t, path); got.Active() != bootctl.SlotA || got.Slot(bootctl.SlotB).Status != bootctl.Writing {
		t.Errorf("slot b is %+v, %v boots next; want it being written, and a", got.Slot(bootctl.SlotB), got.Active())
	}
	opt.Transfer.NoFull = false
	var notes []string
	opt.Progress = func(e updater.Event) {
		if e.Note != "" {
			notes = append(notes, e.Note)
		}
	}
	got, err := sys.Apply(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, "no ranges") }) {
		t.Errorf("was told %q; want a word on ranges", notes)
	}
	if got.Transfer != "stream" {
		t.Errorf("the update came by %q; want a stream", got.Transfer)
	}
	if got.CopiedBytes*100 < got.ImageBytes*60 {
		t.Errorf("%d bytes of %d were taken from the device; want two of three files", got.CopiedBytes, got.ImageBytes)
	}
	if _, err := sys.Verify(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
}

// Nothing of the update is on the device.
func TestApplyNoFull(t *testing.T) {
	srv, ref := updates(t, threeVersions(t))
	path := ut.EmptyDisk(t)
	opt := fetchOptions(ref("v2"))
	opt.Transfer.NoFull = true
	_, err := open(t, path).Apply(t.Context(), opt)
	if fault.KindOf(err) != fault.Refused || srv.Total(fs.Data).Bytes != 0 {
		t.Errorf("Apply() = %v after %d bytes; want kind %d and none", err, srv.Total(fs.Data).Bytes, fault.Refused)
	}
	if got := state(t, path).Slots[0].Status; got != bootctl.Empty {
		t.Errorf("slot a is %s; want it as it was, empty", got)
	}
}

// The next apply goes on where one ended: with the tree and the blocks that it
// left, whatever ended it.
func TestApplyGoesOn(t *testing.T) {
	dir := threeVersions(t)
	srv, ref := updates(t, dir)
	for _, tt := range []struct {
		name string
		data fs.Fault
		kind fault.Kind
	}{
		{"canceled", fs.Stall(200_000), fault.Canceled},
		{"the update changes", fs.Flip(-150_000), fault.Verify},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := ut.Disk(t, "oci:"+dir+":v1")
			sys := open(t, path)
			srv.Forget()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			srv.Set(fs.On(tt.data, fs.Data))
			opt := fetchOptions(ref("v2"))
			opt.Progress = func(e updater.Event) {
				if e.Fetched > 190_000 && tt.kind == fault.Canceled {
					cancel()
				}
			}
			if _, err := sys.Apply(ctx, opt); fault.KindOf(err) != tt.kind {
				t.Fatalf("Apply() = %v (kind %d); want kind %d", err, fault.KindOf(err), tt.kind)
			}
			if got := state(t, path); got.Active() != bootctl.SlotA || got.Slot(bootctl.SlotB).Status != bootctl.Writing {
				t.Errorf("slot b is %+v, %v boots next; want it being written, and a", got.Slot(bootctl.SlotB), got.Active())
			}
			srv.Set()
			srv.Forget()
			got, err := sys.Apply(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			if n := srv.Total(fs.Tree).Bytes; n != 0 {
				t.Errorf("%d bytes of the tree were fetched again", n)
			}
			// In all it would be 34 %.
			between(t, "fetched", got.FetchedBytes, got.ImageBytes, 5, 25)
			between(t, "kept", got.KeptBytes, got.ImageBytes, 10, 95)
			if _, err := sys.Verify(t.Context(), nil, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// The power may go at any write of an apply over a slot that has blocks of the
// update elsewhere: the old system boots, or the new one, and the next apply
// finishes.
func TestApplyOverAnotherImageKilledAnywhere(t *testing.T) {
	dir := ut.Layout(t, map[string]ut.Image{
		"v1": {Version: "1.0", Noise: 30_000},
		"v0": {Version: "0.5", Files: map[string]string{"etc/0": ut.Noise("x", 50_000), "usr/y": ut.Noise("y", 120_000)}},
		"v2": {Version: "2.0", Files: map[string]string{"usr/y": ut.Noise("y", 120_000), "usr/z": ut.Noise("z", 20_000)}},
	})
	path := ut.Disk(t, "oci:"+dir+":v1")
	sys := open(t, path)
	if _, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + dir + ":v0", Allow: updater.Allow{Downgrade: true}}); err != nil {
		t.Fatal(err)
	}
	if _, err := sys.MarkBad(bootctl.SlotB, ""); err != nil {
		t.Fatal(err)
	}
	sys.Close()
	base := memory(t, path)
	old, ref := ut.State(t, base), update(t, dir, "v2")
	rec := blockdevtest.NewRecorder(base)
	got, err := apply(t, rec, ref)
	if err != nil {
		t.Fatal(err)
	}
	if got.CopiedBytes < 60_000 {
		t.Fatalf("only %d bytes come from the slot: too few to prove anything", got.CopiedBytes)
	}
	cuts, news := 0, 0
	for img, cut := range rec.Crashes() {
		if cuts++; cut.Torn >= 0 && cuts%8 != 0 {
			continue
		}
		next, err := checkOldOrNew(t, img, old)
		if err != nil {
			t.Fatalf("cut %v: %v", cut, err)
		}
		if next == bootctl.SlotB {
			news++
			continue
		}
		if _, err = apply(t, img, ref); err != nil {
			t.Fatalf("cut %v: apply again: %v", cut, err)
		}
		if next, err = checkOldOrNew(t, img, old); err != nil || next != bootctl.SlotB {
			t.Fatalf("cut %v: after apply again slot %v boots next, %v", cut, next, err)
		}
	}
	if cuts < 50 || news == 0 {
		t.Errorf("%d cuts, %d of them with the new system: too few to prove anything", cuts, news)
	}
}
