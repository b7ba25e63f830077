package qemutests

import (
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/partitions"
)

// TestCorruption flips bytes of slot b after an apply. Slot a runs in the end,
// and nobody has run the changed system.
func TestCorruption(t *testing.T) {
	tests := []struct {
		name string
		// at says where to flip a byte; nil is every block of file contents,
		// so that the first one that is read shows it, after the mount.
		at func(c *partitions.SlotContent, size int64) int64
	}{
		{"superblock", func(*partitions.SlotContent, int64) int64 { return 100 }},
		{"data", nil},
		{"tree", func(c *partitions.SlotContent, _ int64) int64 { return c.Manifest.HashOffset + 4096 + 77 }},
		{"manifest", func(c *partitions.SlotContent, _ int64) int64 { return c.Footer.ManifestOff + 10 }},
		{"footer", func(_ *partitions.SlotContent, size int64) int64 { return size - 4096 + 20 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := newDevice(t)
			d.host("apply", d.d.image("v2"))
			d.corrupt(bootctl.SlotB, tt.at)
			g := d.start()
			g.wantBoot("a", "1.0")
			st := g.status()
			if st.Fallback == nil {
				t.Errorf("no fallback in status; want one")
			}
			b := st.Slots["b"]
			if b.State != bootctl.Bad || b.LastFailure == "" {
				t.Errorf("slot b = %+v; want bad with a reason", b)
			}
			t.Logf("fallback: %s; last failure: %s", deref(st.Fallback), b.LastFailure)
			g.Kill()
			if r := hostRun(d.f, "verify", "b", "--disk", d.disk); r.Exit != 4 {
				t.Errorf("verify of slot b exited with %d; want 4: %s%s", r.Exit, r.Stdout, r.Stderr)
			}
		})
	}
}

func (d *device) corrupt(slot bootctl.Slot, at func(c *partitions.SlotContent, size int64) int64) {
	d.t.Helper()
	sec, err := d.open().Slot(slot)
	if err != nil {
		d.t.Fatal(err)
	}
	c, err := partitions.ReadSlot(sec)
	if err != nil {
		d.t.Fatal(err)
	}
	var offs []int64
	if at != nil {
		offs = append(offs, at(c, sec.Size()))
	} else {
		// Inodes and directories lie behind all contents.
		for off := int64(4096 + 1000); off < c.Manifest.ImageBytes*9/10; off += 4096 {
			offs = append(offs, off)
		}
	}
	var b [1]byte
	for _, off := range offs {
		if _, err := sec.ReadAt(b[:], off); err != nil {
			d.t.Fatal(err)
		}
		b[0] ^= 0x40
		if _, err := sec.WriteAt(b[:], off); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := sec.Sync(); err != nil {
		d.t.Fatal(err)
	}
}
