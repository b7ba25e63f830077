package selector_test

import (
	"testing"

	"github.com/abupdate/abupdate/updater/selector"
)

func TestEntry(t *testing.T) {
	e := selector.Entry{Number: 0x1a, Label: "abupdate fallback", File: "EFI/BOOT/BOOTX64.EFI"}
	b, err := selector.Encode(e, esp)
	if err != nil {
		t.Fatal(err)
	}
	// As efibootmgr 18 shows it: HD(1,GPT,0f4a2c1e-...,0x800,0x20000)/\EFI\BOOT\BOOTX64.EFI
	if got, want := len(b), 4+2+2*18+42+(4+2*22)+4; got != want {
		t.Errorf("%d bytes; want %d", got, want)
	}
	got := selector.Entry{Number: e.Number}
	if err := selector.Decode(&got, b, esp); err != nil || got != e {
		t.Errorf("read back: %+v, %v; want %+v", got, err, e)
	}
	other := esp
	other.GUID = "1f4a2c1e-9d5b-4a77-8f01-0123456789ab"
	if err := selector.Decode(&got, b, other); err != nil || got.File != "" {
		t.Errorf("read for another ESP: %+v, %v; want no file", got, err)
	}
	for n := range b {
		if err := selector.Decode(&got, b[:n], esp); err == nil {
			t.Errorf("%d of %d bytes are read as %+v", n, len(b), got)
		}
	}
	if _, err := selector.Encode(e, selector.ESP{GUID: "x"}); err == nil {
		t.Error("an entry for an ESP without a GUID is made")
	}
}

func FuzzEntry(f *testing.F) {
	b, err := selector.Encode(selector.Entry{Label: "x", File: "EFI/x.efi"}, esp)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var e selector.Entry
		if selector.Decode(&e, b, esp) == nil && len(b) < 6 {
			t.Errorf("%x is read as %+v", b, e)
		}
	})
}
