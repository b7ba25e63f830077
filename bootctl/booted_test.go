package bootctl_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
)

func TestBooted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run", "abupdate", "boot.json")
	if _, err := bootctl.ReadBooted(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadBooted(no file) = %v; want ErrNotExist", err)
	}
	want := bootctl.Booted{Slot: slotB, Disk: "/dev/vda", DiskGUID: "d-i-s-k", Version: "2", RootHash: "22",
		Kernel: "6.1.0-amd64", StatePartition: "p-a-r-t", Try: 2, Fallback: "slot a \"failed\""}
	for range 2 { // over what is there, too
		if err := want.Write(path); err != nil {
			t.Fatal(err)
		}
		got, err := bootctl.ReadBooted(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("what was booted (-want +got):\n%s", diff)
		}
	}
	if err := os.WriteFile(path, []byte(`{"slot":"c"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := bootctl.ReadBooted(path); err == nil {
		t.Errorf("ReadBooted(slot c) = %+v; want an error", b)
	}
}
