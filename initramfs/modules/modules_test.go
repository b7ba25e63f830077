package modules_test

import (
	"bytes"
	"debug/elf"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/initramfs/modules"
	"github.com/abupdate/abupdate/initramfs/modules/modulestest"
)

// What is packed goes to the decompressor, with its name, and only what is
// needed.
func TestResolve(t *testing.T) {
	source := modules.FromFS(fstest.MapFS{
		"kernel/md/dm-verity.ko.xz": {Data: []byte("packed verity")},
		"kernel/md/dm-mod.ko":       {Data: []byte("mod")},
		"kernel/fs/ext4.ko.xz":      {Data: []byte("packed ext4")},
		"modules.builtin":           {Data: []byte("kernel/fs/overlay.ko\n")},
		"notes.txt":                 {Data: []byte("no module")},
	})
	decompress := func(name string, b []byte) ([]byte, error) {
		switch name + " " + string(b) {
		case "kernel/md/dm-verity.ko.xz packed verity":
			return modulestest.Object(t, "license=GPL\x00depends=dm-mod"), nil
		case "kernel/md/dm-mod.ko mod":
			return modulestest.Object(t, "depends="), nil
		}
		return nil, errors.New("it is damaged")
	}
	found, err := modules.Resolve(source, []string{"?nvme", "overlay", "dm_verity"}, decompress)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range found {
		got = append(got, m.Name+" "+m.Path)
	}
	want := []string{"dm_mod kernel/md/dm-mod.ko", "dm_verity kernel/md/dm-verity.ko"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Resolve() mismatch (-want +got):\n%s", diff)
	}
	_, err = modules.Resolve(source, []string{"ext4"}, decompress)
	if err == nil || !strings.Contains(err.Error(), "kernel/fs/ext4.ko.xz: it is damaged") {
		t.Errorf("Resolve() of a damaged module = %v; want an error that says so", err)
	}
}

// plain is the decompressor of what is not packed.
func plain(_ string, b []byte) ([]byte, error) { return b, nil }

// FuzzModinfo compares with debug/elf: where that finds the section of a file
// that we can read too, the same dependencies come out.
func FuzzModinfo(f *testing.F) {
	whole := modulestest.Object(f, "depends=mid")
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	for _, at := range []int{4, 40, 58, 60, 62, len(whole) - 64, len(whole) - 128} {
		changed := bytes.Clone(whole)
		changed[at] ^= 0xff
		f.Add(changed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		source := modules.FromFS(fstest.MapFS{"top.ko": {Data: b}, "mid.ko": {Data: whole[:0:0]}})
		_, err := modules.Resolve(source, []string{"top"}, plain)
		if err == nil {
			file, elfErr := elf.NewFile(bytes.NewReader(b))
			if elfErr == nil && file.Section(".modinfo") == nil {
				t.Error("Resolve() read .modinfo; debug/elf finds none")
			}
		}
	})
}
