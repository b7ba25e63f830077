package partitions_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
)

// readOnly fails the test when a disk that is only looked at is written to.
type readOnly struct {
	blockdev.Device
	t      *testing.T
	closed *int
}

func (r readOnly) WriteAt([]byte, int64) (int, error) {
	r.t.Error("FindBootDisk wrote to a disk")
	return 0, fs.ErrPermission
}

func (r readOnly) Close() error { *r.closed++; return nil }

func TestFindBootDisk(t *testing.T) {
	disks := map[string]*blockdevtest.Image{}
	guid := map[string]partitions.Partition{} // of var, by disk
	esp := map[string]string{}
	for i, name := range []string{"a", "b"} {
		img := blockdevtest.NewImage(zeros(tiny.MinDisk()))
		d, err := disk.Create(img, tiny, disk.Options{Rand: rand.NewChaCha8([32]byte{byte(i)})})
		if err != nil {
			t.Fatal(err)
		}
		disks[name] = img
		guid[name], _ = d.Partition("var")
		p, _ := d.Partition("esp")
		esp[name] = p.GUID
	}
	damaged := blockdevtest.NewImage(disks["a"])
	damaged.WriteAt(make([]byte, 40<<10), 0)
	damaged.WriteAt([]byte{1}, damaged.Size()-33*512) // the backup's header is there, its entries are not whole
	disks["blank"], disks["damaged"], disks["clone of a"] = blockdevtest.NewImage(zeros(mib)), damaged, disks["a"]
	const absent = "00000000-1111-2222-3333-444444444444"

	tests := []struct {
		name  string
		disks string
		hint  partitions.Hint
		want  string
		err   error
		text  string
	}{
		{"the only one", "blank a", partitions.Hint{}, "a", nil, ""},
		{"none", "blank", partitions.Hint{}, "", partitions.ErrNoDisk, "none has an abupdate layout"},
		{"no disks at all", "", partitions.Hint{}, "", partitions.ErrNoDisk, ""},
		{"two, no hint", "a blank b", partitions.Hint{}, "", partitions.ErrAmbiguous, "each of a, b has an abupdate layout"},
		{"two, the command line names b", "a b", partitions.Hint{DiskPartUUID: guid["b"].GUID}, "b", nil, ""},
		{"GUIDs in upper case", "a b", partitions.Hint{DiskPartUUID: strings.ToUpper(guid["b"].GUID)}, "b", nil, ""},
		{"two, the loader names b", "a b", partitions.Hint{Loader: esp["b"]}, "b", nil, ""},
		{"the loader counts before the command line", "a b", partitions.Hint{Loader: esp["a"], DiskPartUUID: guid["b"].GUID}, "a", nil, ""},
		{"the loader lies elsewhere, the command line counts", "a b", partitions.Hint{Loader: absent, DiskPartUUID: guid["b"].GUID}, "b", nil, ""},
		{"the loader lies elsewhere, there is one disk", "a", partitions.Hint{Loader: absent}, "a", nil, ""},
		{"the loader lies elsewhere, there are two", "a b", partitions.Hint{Loader: absent}, "", partitions.ErrAmbiguous, "a, b"},
		{"the command line names what is not there: another disk is no substitute", "a", partitions.Hint{DiskPartUUID: absent}, "", partitions.ErrNoDisk, "none holds partition " + absent},
		{"a clone, named", "a clone-of-a", partitions.Hint{DiskPartUUID: guid["a"].GUID}, "", partitions.ErrAmbiguous, "a, clone of a"},
		{"a clone, booted from", "a clone-of-a", partitions.Hint{Loader: esp["a"], DiskPartUUID: guid["a"].GUID}, "", partitions.ErrAmbiguous, "a, clone of a"},
		{"a damaged disk is told of", "damaged blank", partitions.Hint{}, "", partitions.ErrNoDisk, "damaged: reading the partition table"},
		{"a damaged disk beside a sound one", "b damaged", partitions.Hint{}, "b", nil, ""},
		{"a disk that can not be opened is told of", "absent", partitions.Hint{}, "", partitions.ErrNoDisk, "absent: file does not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			opened, closed := 0, 0
			var list []partitions.Candidate
			for _, name := range strings.Fields(tt.disks) {
				name = strings.ReplaceAll(name, "-", " ")
				list = append(list, partitions.Candidate{Name: name, Open: func() (blockdev.Device, error) {
					img, ok := disks[name]
					if !ok {
						return nil, fs.ErrNotExist
					}
					opened++
					return readOnly{img, t, &closed}, nil
				}})
			}
			got, err := partitions.FindBootDisk(list, tt.hint)
			if !errors.Is(err, tt.err) || !strings.Contains(fmt.Sprint(err), tt.text) || got.Name != tt.want {
				t.Errorf("FindBootDisk() = %q, %v; want %q, %v with %q", got.Name, err, tt.want, tt.err, tt.text)
			}
			if opened != closed {
				t.Errorf("FindBootDisk() opened %d disks and closed %d", opened, closed)
			}
		})
	}
}

func TestListDisks(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	sys := fstest.MapFS{}
	for name, size := range map[string]string{
		"sda": "1000", "vda": "1000", "nvme0n1": "1000", "mmcblk0": "1000", "cciss!c0d0": "1000", "xvda": "1000",
		"loop0": "1000", "ram0": "16", "zram0": "16", "dm-0": "1000", "md127": "1000", "sr0": "1000", "fd0": "8",
		"sdb": "0", // a card reader without a card
	} {
		sys["class/block/"+name+"/size"] = file(size + "\n")
	}
	for _, name := range []string{"sda1", "nvme0n1p1", "mmcblk0p2"} {
		sys["class/block/"+name+"/size"] = file("100\n")
		sys["class/block/"+name+"/partition"] = file("1\n")
	}
	dev := t.TempDir()
	if err := os.Mkdir(filepath.Join(dev, "cciss"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dev, "cciss", "c0d0"), []byte("a disk"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := partitions.ListDisks(sys, dev)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range list {
		got = append(got, c.Name)
		if c.Name != "cciss!c0d0" {
			continue
		}
		d, err := c.Open()
		if err != nil || d.Size() != 6 {
			t.Errorf("opening %s: %v, %v", c.Name, d, err)
		}
	}
	want := []string{"cciss!c0d0", "mmcblk0", "nvme0n1", "sda", "vda", "xvda"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ListDisks() mismatch (-want +got):\n%s", diff)
	}
	if _, err := partitions.ListDisks(fstest.MapFS{}, dev); err == nil {
		t.Error("ListDisks() without class/block = nil error")
	}
}
