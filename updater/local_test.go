package updater_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

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

// A slot that is not what the boot state says, or not what runs, gives nothing.
func TestApplyFromAnotherSlot(t *testing.T) {
	s := newShop(t)
	good := ut.Disk(t, s.local("base"))
	root := slotContent(t, good).Manifest.RootHash
	other := strings.Repeat("ab", 32)
	for _, tt := range []struct {
		name, state, booted string
		local               int
	}{
		{"what runs", root, root, 1},
		{"what runs, says abinit of before root hashes", root, "", 1},
		{"not what the boot state says", other, root, 0},
		{"not what runs", root, other, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := copyFile(t, good)
			ut.EditState(t, disk, func(s bootctl.State) bootctl.State {
				s.Slot(bootctl.SlotA).RootHash = tt.state
				s.LastBoot = bootctl.Boot{Slot: bootctl.SlotA, Confirmed: true}
				return s
			})
			dev, err := blockdev.Open(disk, blockdev.ReadWrite)
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			sys, err := updater.New(dev, &bootctl.Booted{Slot: bootctl.SlotA, Disk: disk, RootHash: tt.booted, Kernel: ut.Kernel})
			if err != nil {
				t.Fatal(err)
			}
			got, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: s.ref("upgrade")})
			if err != nil {
				t.Fatal(err)
			}
			if got.LocalLayers != tt.local || got.RootHash != s.rootHash(t, "upgrade") {
				t.Errorf("%+v; want %d layers from the running slot", got, tt.local)
			}
		})
	}
}
