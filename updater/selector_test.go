package updater_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"

	selector "github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
)

// uki is a selector that was made of an image with this version.
func uki(t *testing.T, version, kernel string) []byte {
	t.Helper()
	const stub = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
	b, err := os.ReadFile(stub)
	if err != nil {
		t.Fatalf("%v: install the Debian package systemd-boot-efi", err)
	}
	var out bytes.Buffer
	if err := selector.UKI(&out, b, selector.UKIOptions{
		Uname: kernel, OSRelease: fmt.Sprintf("ID=abupdate\nVERSION_ID=%q\n%s\n", version, updater.SelectorKexec),
		Linux: []byte("kernel"), Initrd: []byte("initrd"),
	}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestSelectorStatus: status names the versions of the selector that was
// started and of the slot's, and says when they differ.
func TestSelectorStatus(t *testing.T) {
	p := newPatient(t)
	sys, err := p.open(updater.Read)
	if err != nil {
		t.Fatal(err)
	}
	kernel := sys.SelectorAt(t.TempDir()).Kernel // of this machine, which the patient runs on
	one, two := uki(t, "1.0", kernel), uki(t, "2.0", kernel)
	other := uki(t, "1.0", kernel+"-other")
	folder := []byte("folder") // in place of the file: it cannot be read
	for _, tt := range []struct {
		name        string
		esp, brings []byte
		want        updater.Selector
	}{
		{"the slot brings none", one, nil, updater.Selector{Version: "1.0"}},
		{"the same", one, one, updater.Selector{Version: "1.0", SlotVersion: "1.0", Digest: hexSum(one), Slot: hexSum(one)}},
		{"another one", one, two, updater.Selector{Version: "1.0", SlotVersion: "2.0", Digest: hexSum(one), Slot: hexSum(two), Due: true}},
		{"an older one", two, one, updater.Selector{Version: "2.0", SlotVersion: "1.0", Digest: hexSum(two), Slot: hexSum(one), Due: true}},
		{"no EFI program", one, []byte("text"), updater.Selector{Version: "1.0", Digest: hexSum(one), Slot: hexSum([]byte("text")), Due: true}},
		{"one that cannot be read", one, folder, updater.Selector{Version: "1.0", Digest: hexSum(one)}},
		{"the ESP's is not what was started", other, two, updater.Selector{SlotVersion: "2.0", Digest: hexSum(other), Slot: hexSum(two), Due: true}},
	} {
		root := t.TempDir()
		if tt.brings != nil {
			file := filepath.Join(root, updater.SelectorDir, filepath.Base(updater.LoaderPath(runtime.GOARCH)))
			if bytes.Equal(tt.brings, folder) {
				file = filepath.Join(file, "x")
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, tt.brings, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		layout, err := partitions.Open(p.dev)
		if err != nil {
			t.Fatal(err)
		}
		if err := disk.WriteESP(layout, map[string][]byte{updater.LoaderPath(runtime.GOARCH): tt.esp}); err != nil {
			t.Fatal(err)
		}
		got := sys.SelectorAt(root)
		got.Kernel = ""
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func hexSum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
