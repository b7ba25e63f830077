package disk_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
)

// FuzzReadESP reads hostile FATs: it must come to an end, without a panic,
// and without more memory than the ESP is large. The input is patches of 10
// bytes: where, counted in 16 bytes from the ESP's start, and what.
func FuzzReadESP(f *testing.F) {
	base := blockdev.NewMemory(make([]byte, small.MinDisk()))
	d, err := disk.Create(base, small, disk.Options{Rand: rand.NewChaCha8([32]byte{})})
	if err != nil {
		f.Fatal(err)
	}
	if err := disk.WriteESP(d, map[string][]byte{"EFI/BOOT/BOOTX64.EFI": make([]byte, 5000), "a long name.conf": []byte("x")}); err != nil {
		f.Fatal(err)
	}
	esp, err := d.Section(partitions.LabelESP)
	if err != nil {
		f.Fatal(err)
	}
	patch := func(at int64, value uint64) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint16(nil, uint16(at/16)), value)
	}
	const fatOff = 32 * 512
	f.Add([]byte(nil))
	f.Add(patch(fatOff, 3<<32|3))      // the root's chain is a ring
	f.Add(patch(fatOff+16, 4|5<<32))   // so is another
	f.Add(patch(0, 0))                 // no boot sector
	f.Add(patch(32, 0xffffffffffffff)) // more sectors than the ESP has
	f.Fuzz(func(t *testing.T, prog []byte) {
		img := blockdevtest.NewImage(base)
		for ; len(prog) >= 10; prog = prog[10:] {
			at := esp.Off() + 16*int64(binary.LittleEndian.Uint16(prog))
			if _, err := img.WriteAt(prog[2:10], at); err != nil {
				t.Fatal(err)
			}
		}
		d, err := partitions.Open(img)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"EFI/BOOT/BOOTX64.EFI", "a long name.conf", "none/at all"} {
			if b, err := disk.ReadESP(d, name); err == nil && int64(len(b)) > int64(small.ESP) {
				t.Errorf("ReadESP(%s) = %d bytes of an ESP of %d", name, len(b), small.ESP)
			}
		}
	})
}
