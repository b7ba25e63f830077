package updater_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

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
			in, err := updater.Look(t.Context(), ref, updater.LookOptions{})
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
