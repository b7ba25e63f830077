package updater_test

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// baseFiles are those of a base with something of everything.
func baseFiles() map[string]string {
	files := map[string]string{
		"usr/lib/big": ut.Noise("big", 700_000), "usr/lib/big2": "=> usr/lib/big", "usr/lib/text": strings.Repeat("a line of text\n", 50_000),
		"etc/motd": "base", "etc/alternatives": "-> motd", "usr/lib/abupdate/kargs.d/a.toml": "kargs = ['quiet']\n",
		"var/lib/dpkg/status": "Package: base\n",
	}
	for i := range 300 {
		files[fmt.Sprintf("usr/share/doc/p%d/copyright", i)] = ut.Noise(fmt.Sprint(i), i*5)
	}
	return files
}

// upgrades are images with layers in common.
func upgrades() map[string]ut.Image {
	base := baseFiles()
	upgrade := map[string]string{
		"usr/lib/new": ut.Noise("new", 90_000), "etc/motd": "upgraded", "var/lib/dpkg/status": "Package: base\nPackage: new\n",
		"usr/share/doc/.wh.p7": "", "usr/share/doc/p8/.wh..wh..opq": "", "usr/lib/text2": "=> usr/lib/text",
	}
	again := maps.Clone(upgrade)
	again["usr/lib/new"] = ut.Noise("newer", 95_000)
	other := map[string]string{"usr/lib/new": "small", "usr/share/doc/p100/copyright": "changed"}
	return map[string]ut.Image{
		"base": {Version: "1.0", Files: base}, "upgrade": {Version: "2.0", Files: base, Upper: upgrade},
		"again": {Version: "3.0", Files: base, Upper: again}, "other": {Version: "1.5", Files: base, Upper: other},
	}
}

// A shop is a registry that counts.
type shop struct {
	*counter
	dir, host string
	images    map[string]*oci.Image
}

func newShop(t *testing.T) *shop {
	t.Helper()
	images := upgrades()
	s := &shop{dir: ut.Layout(t, images), counter: &counter{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}, images: map[string]*oci.Image{}}
	server := httptest.NewServer(s.counter)
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	for tag := range images {
		local, remote := reference(t, s.local(tag)), reference(t, s.ref(tag))
		if _, err := oci.Push(t.Context(), local, remote, oci.Options{}); err != nil {
			t.Fatal(err)
		}
		img, err := oci.Resolve(t.Context(), remote, oci.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { img.Close() })
		s.images[tag] = img
	}
	return s
}

func (s *shop) local(tag string) string { return "oci:" + s.dir + ":" + tag }
func (s *shop) ref(tag string) string   { return s.host + "/os:" + tag }

// layer is the size of a layer, the lowest being 0.
func (s *shop) layer(tag string, i int) int64 { return s.images[tag].Layers()[i].Size }

func reference(t *testing.T, name string) oci.Reference {
	t.Helper()
	ref, err := oci.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// rootHash is that of an image when all of it is fetched.
func (s *shop) rootHash(t *testing.T, tag string) string {
	t.Helper()
	built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: s.local(tag), Raw: filepath.Join(t.TempDir(), "raw")})
	if err != nil {
		t.Fatal(err)
	}
	return built.RootHash
}

// apply applies an image and says how many bytes of blobs were sent.
func (s *shop) apply(t *testing.T, disk, tag string, opt updater.ApplyOptions) (*updater.Applied, int64) {
	t.Helper()
	sys := open(t, disk)
	defer sys.Close()
	s.sent.Store(0)
	opt.Ref = s.ref(tag)
	got, err := sys.Apply(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return got, s.sent.Load()
}

// confirm starts what was staged, and says that it is good.
func confirm(t *testing.T, disk string, slot bootctl.Slot) {
	t.Helper()
	ut.EditState(t, disk, func(s bootctl.State) bootctl.State {
		_, s = s.Next()
		s, err := s.Confirm(slot)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// A device that has the base fetches the upgrade, and the next one, and gets
// what it would get with all of it fetched.
func TestApplyFetchesTheUpgradeOnly(t *testing.T) {
	s := newShop(t)
	const small = 4 << 10 // configs
	disk := ut.Disk(t, s.local("base"))
	slot := bootctl.SlotB
	for _, tag := range []string{"upgrade", "again"} {
		var last updater.Event
		got, sent := s.apply(t, disk, tag, updater.ApplyOptions{Progress: func(e updater.Event) {
			if e.Step == updater.StepWrite {
				last = e
			}
		}})
		base, upgrade := s.layer(tag, 0), s.layer(tag, 1)
		t.Logf("%s: %d bytes of blobs were sent; the layers have %d and %d", tag, sent, base, upgrade)
		if sent < upgrade || sent > upgrade+small {
			t.Errorf("%s: %d bytes of blobs were sent; want the upgrade's %d", tag, sent, upgrade)
		}
		if got.Slot != slot || got.LocalLayers != 1 || got.LocalBytes != base || got.RootHash != s.rootHash(t, tag) {
			t.Errorf("%s: %+v; want a layer of %d bytes from the running slot, root hash %s", tag, got, base, s.rootHash(t, tag))
		}
		if last.Copied != base || last.Fetched != upgrade || last.Done != last.Total {
			t.Errorf("%s: last progress %+v; want %d copied and %d fetched", tag, last, base, upgrade)
		}
		confirm(t, disk, slot)
		slot = slot.Other()
	}
}

// What is fetched depends on what is left of the base.
func TestApplyFetchesWhatIsGone(t *testing.T) {
	s := newShop(t)
	for _, tt := range []struct {
		name, old, next string
		opt             updater.ApplyOptions
		layers          []int // of next, that are fetched
		local           int
	}{
		{"an upgrade that hides the same", "upgrade", "again", updater.ApplyOptions{}, []int{1}, 1},
		{"an upgrade that hides less", "upgrade", "other", updater.ApplyOptions{Allow: updater.Allow{Downgrade: true}}, []int{0, 1}, 0},
		{"nothing in common hidden", "base", "other", updater.ApplyOptions{}, []int{1}, 1},
		{"all of it there", "other", "other", updater.ApplyOptions{Allow: updater.Allow{Same: true}}, nil, 2},
		{"back to the base", "upgrade", "base", updater.ApplyOptions{Allow: updater.Allow{Downgrade: true}}, []int{0}, 0},
		{"asked for all", "base", "upgrade", updater.ApplyOptions{Transfer: updater.TransferOptions{Full: true}}, []int{0, 1}, 0},
		{"a dry run", "base", "upgrade", updater.ApplyOptions{DryRun: true}, []int{1}, 1},
		{"headers first", "base", "upgrade", updater.ApplyOptions{CheckFirst: true}, []int{1, 1}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, sent := s.apply(t, ut.Disk(t, s.local(tt.old)), tt.next, tt.opt)
			var want int64
			for _, i := range tt.layers {
				want += s.layer(tt.next, i)
			}
			if sent < want || sent > want+4<<10 || got.LocalLayers != tt.local || got.FetchedBytes != want {
				t.Errorf("%d bytes of blobs were sent, %d said, %d layers are local; want %d and %d", sent, got.FetchedBytes, got.LocalLayers, want, tt.local)
			}
			if !tt.opt.DryRun && got.RootHash != s.rootHash(t, tt.next) {
				t.Errorf("root hash %s; want %s", got.RootHash, s.rootHash(t, tt.next))
			}
		})
	}
}

// A slot that is damaged, wherever, or that has no list, gives no layer, and
// the image is what it would be.
func TestApplyFromDamagedSlot(t *testing.T) {
	s := newShop(t)
	want := s.rootHash(t, "upgrade")
	good := ut.Disk(t, s.local("base"))
	content := slotContent(t, good)
	image := content.Footer.ImageBytes
	type damage = func(t *testing.T, sec *blockdev.Section)
	flip := func(off int64) damage {
		return func(t *testing.T, sec *blockdev.Section) {
			b := make([]byte, 1)
			if _, err := sec.ReadAt(b, off); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 0x40
			if _, err := sec.WriteAt(b, off); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, tt := range []struct {
		name   string
		damage damage
		note   string // part of what progress says, "" for nothing
	}{
		{"the first block", flip(100), "data block 0"},
		{"a content near the start", flip(9000), ""},
		{"a content in the middle", flip(image / 2), ""},
		{"the inodes", flip(image - 5000), "data block"},
		{"the hash tree", flip(content.Footer.HashOff + 5000), "hash tree"},
		{"the list", flip(content.Footer.LayersOff + 1000), "list of layers"},
		{"the manifest", flip(content.Footer.ManifestOff + 30), "manifest"},
		{"the footer", flip(content.Footer.SlotBytes - 4000), "footer"},
		{"no list", func(t *testing.T, sec *blockdev.Section) {
			f := content.Footer
			f.LayersOff, f.LayersBytes, f.LayersCRC = 0, 0, 0
			b := f.Encode()
			if _, err := sec.WriteAt(b[:], f.SlotBytes-partitions.FooterSize); err != nil {
				t.Fatal(err)
			}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := copyFile(t, good)
			onSlot(t, disk, func(sec *blockdev.Section) { tt.damage(t, sec) })
			var notes []string
			got, sent := s.apply(t, disk, "upgrade", updater.ApplyOptions{Progress: func(e updater.Event) {
				if e.Note != "" {
					notes = append(notes, e.Note)
				}
			}})
			if got.RootHash != want || got.LocalLayers != 0 || sent < s.images["upgrade"].Size() {
				t.Errorf("%+v with %d bytes sent; want root hash %s and all %d bytes", got, sent, want, s.images["upgrade"].Size())
			}
			told := slices.ContainsFunc(notes, func(n string) bool { return tt.note != "" && strings.Contains(n, tt.note) })
			if told != (tt.note != "") || tt.note == "" && len(notes) > 0 {
				t.Errorf("notes are %q; want one with %q", notes, tt.note)
			}
		})
	}
}

// Whatever makes a slot leaves the same list in it.
func TestListsOfLayers(t *testing.T) {
	s := newShop(t)
	raw := filepath.Join(t.TempDir(), "raw")
	if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: s.local("base"), Raw: raw}); err != nil {
		t.Fatal(err)
	}
	dev, err := blockdev.Open(raw, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	built, err := partitions.ReadSlot(dev)
	if err != nil {
		t.Fatal(err)
	}
	list, err := built.Layers(dev)
	if err != nil || len(list) == 0 {
		t.Fatalf("the list that build leaves has %d bytes, %v", len(list), err)
	}
	onSlot(t, ut.Disk(t, s.local("base")), func(sec *blockdev.Section) {
		content, err := partitions.ReadSlot(sec)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := content.Layers(sec); err != nil || string(got) != string(list) || content.Manifest.Layers != built.Manifest.Layers {
			t.Errorf("apply leaves a list of %d bytes, %v; build one of %d", len(got), err, len(list))
		}
	})
}

// An update brings the list of the image that it was made of, where it is small
// beside the image; the ordinary image that follows it profits.
func TestListOfAnUpdate(t *testing.T) {
	s := newShop(t)
	disk := ut.EmptyDisk(t)
	sys := open(t, disk)
	got, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: update(t, s.dir, "base")})
	if err != nil {
		t.Fatal(err)
	}
	sys.Close()
	content := slotContent(t, disk)
	if n := content.Footer.LayersBytes; n == 0 || got.Slot != bootctl.SlotA || content.Manifest.Layers == "" {
		t.Fatalf("%+v: the update leaves a list of %d bytes", got, n)
	}
	confirm(t, disk, bootctl.SlotA)
	next, sent := s.apply(t, disk, "upgrade", updater.ApplyOptions{})
	if next.LocalLayers != 1 || next.RootHash != s.rootHash(t, "upgrade") || sent > s.layer("upgrade", 1)+4<<10 {
		t.Errorf("%+v with %d bytes sent; want the base from the running slot", next, sent)
	}
}

// A list that costs too much, or that is not the one that the manifest means,
// is left where it is.
func TestListOfAnUpdateThatIsLeft(t *testing.T) {
	s := newShop(t)
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, blobs, list string)
	}{
		{"gone", func(t *testing.T, blobs, list string) {
			if err := os.Remove(filepath.Join(blobs, list)); err != nil {
				t.Fatal(err)
			}
		}},
		{"changed", func(t *testing.T, blobs, list string) {
			name := filepath.Join(blobs, list)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ref := update(t, s.dir, "base")
			blobs := filepath.Join(strings.TrimSuffix(strings.TrimPrefix(ref, "oci:"), ":base"), "blobs", "sha256")
			in, err := updater.Inspect(t.Context(), ref, updater.SourceOptions{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(in.Blobs, func(b updater.Blob) bool { return b.Role == "list of layers" })
			if i < 0 {
				t.Fatalf("no list of layers in %+v", in.Blobs)
			}
			tt.change(t, blobs, strings.TrimPrefix(in.Blobs[i].Digest, "sha256:"))
			disk := ut.EmptyDisk(t)
			if _, err := open(t, disk).Apply(t.Context(), updater.ApplyOptions{Ref: ref}); err != nil {
				t.Fatal(err)
			}
			if n := slotContent(t, disk).Footer.LayersBytes; n != 0 {
				t.Errorf("the slot has a list of %d bytes; want none", n)
			}
		})
	}
	t.Run("of many small files", func(t *testing.T) {
		files := map[string]string{}
		for i := range 8000 {
			files[fmt.Sprintf("usr/share/%x", i*i*i)] = ""
		}
		dir := ut.Layout(t, map[string]ut.Image{"small": {Version: "1", Files: files}})
		disk := ut.EmptyDisk(t)
		if _, err := open(t, disk).Apply(t.Context(), updater.ApplyOptions{Ref: update(t, dir, "small")}); err != nil {
			t.Fatal(err)
		}
		content := slotContent(t, disk)
		if content.Manifest.Layers == "" || content.Footer.LayersBytes != 0 {
			t.Errorf("a list of %d bytes for an image of %d; want it left", content.Footer.LayersBytes, content.Footer.ImageBytes)
		}
	})
}

func copyFile(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "disk.raw")
	if out, err := exec.Command("cp", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copying the disk: %v: %s", err, out)
	}
	return to
}

func slotContent(t *testing.T, disk string) (content *partitions.SlotContent) {
	t.Helper()
	onSlot(t, disk, func(sec *blockdev.Section) {
		var err error
		if content, err = partitions.ReadSlot(sec); err != nil {
			t.Fatal(err)
		}
	})
	return content
}

// onSlot opens slot A of a disk.
func onSlot(t *testing.T, path string, do func(sec *blockdev.Section)) {
	t.Helper()
	dev, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	d, err := partitions.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	sec, err := d.Slot(bootctl.SlotA)
	if err != nil {
		t.Fatal(err)
	}
	do(sec)
}
