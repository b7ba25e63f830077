package disk_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
)

// small is the least layout with all partitions.
var small = disk.Layout{
	ESP: 40 * disk.MiB, Slot: 8 * disk.MiB, Recovery: 8 * disk.MiB, Var: 16 * disk.MiB,
	Extras: []disk.Extra{{Label: "nix", Size: 3 * disk.MiB}, {Label: "home", Type: "home", Size: 2 * disk.MiB}},
}

// seeded returns the same random bytes for the same seed.
func seeded(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// oracle runs a tool on a disk image; a tool that is not there fails the test.
func oracle(t *testing.T, pkg, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path = filepath.Join("/usr/sbin", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		if _, statErr := os.Stat(path); statErr != nil {
			t.Fatalf("%s is missing: install the Debian package %s", name, pkg)
		}
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func create(t *testing.T, size disk.Size, l disk.Layout, opt disk.Options) (string, *partitions.Disk) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	f, d, err := disk.CreateFile(path, size, l, opt)
	if err != nil {
		t.Fatalf("CreateFile() = %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return path, d
}

// checkGPT asks sgdisk and sfdisk.
func checkGPT(t *testing.T, path string) {
	t.Helper()
	if out := oracle(t, "gdisk", "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	if out := oracle(t, "fdisk", "sfdisk", "--verify", path); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk --verify:\n%s", out)
	}
}

func TestCreateAgainstSfdisk(t *testing.T) {
	tests := []struct {
		name, arch, root string
		size             disk.Size
	}{
		{"least size, amd64", "amd64", partitions.RootAMD64Type, 0},
		{"arm64", "arm64", partitions.RootARM64Type, 0},
		{"larger disk gives var the rest", "", partitions.RootAMD64Type, 300 * disk.MiB},
		{"size of no whole MiB", "", partitions.RootAMD64Type, 300*disk.MiB + 12345*512},
		{"3 TiB, beyond the MBR's numbers", "", partitions.RootAMD64Type, 3 * disk.TiB},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path, d := create(t, tt.size, small, disk.Options{Arch: tt.arch, Rand: seeded(1)})
			checkGPT(t, path)
			size := tt.size
			if size == 0 {
				size = small.MinDisk()
			}
			const M = int64(disk.MiB)
			rest := (int64(size)-33*512)/M*M - 71*M
			want := []partitions.Partition{
				{Number: 1, Label: "esp", TypeGUID: partitions.ESPType, Off: 1 * M, Size: 40 * M},
				{Number: 2, Label: "abstate", TypeGUID: partitions.StateType, Off: 41 * M, Size: 1 * M},
				{Number: 3, Label: "root-a", TypeGUID: tt.root, Off: 42 * M, Size: 8 * M, Attributes: 1<<60 | 1<<63},
				{Number: 4, Label: "root-b", TypeGUID: tt.root, Off: 50 * M, Size: 8 * M, Attributes: 1<<60 | 1<<63},
				{Number: 5, Label: "recovery", TypeGUID: partitions.LinuxGenericType, Off: 58 * M, Size: 8 * M, Attributes: 1 << 60},
				{Number: 6, Label: "nix", TypeGUID: partitions.LinuxGenericType, Off: 66 * M, Size: 3 * M},
				{Number: 7, Label: "home", TypeGUID: partitions.HomeType, Off: 69 * M, Size: 2 * M},
				{Number: 8, Label: "var", TypeGUID: partitions.VarType, Off: 71 * M, Size: rest},
			}
			got := d.Partitions()
			for i := range got {
				if i < len(want) {
					want[i].GUID = got[i].GUID
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Partitions() mismatch (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(sfdisk(t, path), got); diff != "" {
				t.Errorf("Partitions() differs from sfdisk's (-sfdisk +got):\n%s", diff)
			}
		})
	}
}

// sfdisk reads the partitions as sfdisk sees them.
func sfdisk(t *testing.T, path string) []partitions.Partition {
	t.Helper()
	var dump struct {
		PartitionTable struct {
			SectorSize int64
			Partitions []struct {
				Node, Type, UUID, Name, Attrs string
				Start, Size                   int64
			}
		}
	}
	if err := json.Unmarshal([]byte(oracle(t, "fdisk", "sfdisk", "--json", path)), &dump); err != nil {
		t.Fatal(err)
	}
	var parts []partitions.Partition
	for _, p := range dump.PartitionTable.Partitions {
		var n int
		if _, err := fmt.Sscanf(strings.TrimPrefix(p.Node, path), "%d", &n); err != nil {
			t.Fatalf("sfdisk's node %q: %v", p.Node, err)
		}
		got := partitions.Partition{
			Number: n, Label: p.Name, GUID: strings.ToLower(p.UUID), TypeGUID: strings.ToLower(p.Type),
			Off: p.Start * dump.PartitionTable.SectorSize, Size: p.Size * dump.PartitionTable.SectorSize,
		}
		for _, bit := range strings.Split(strings.TrimPrefix(p.Attrs, "GUID:"), ",") {
			var b int
			if _, err := fmt.Sscanf(bit, "%d", &b); err == nil {
				got.Attributes |= 1 << b
			}
		}
		parts = append(parts, got)
	}
	return parts
}

func TestCreateIsDeterministic(t *testing.T) {
	t.Parallel()
	var images [3][]byte
	for i, seed := range []byte{1, 1, 2} {
		dev := blockdev.NewMemory(make([]byte, small.MinDisk()))
		d, err := disk.Create(dev, small, disk.Options{Rand: seeded(seed)})
		if err != nil {
			t.Fatalf("Create() = %v", err)
		}
		if err := disk.WriteESP(d, espFiles()); err != nil {
			t.Fatalf("WriteESP() = %v", err)
		}
		images[i] = dev.Bytes()
		if i == 0 {
			time.Sleep(2100 * time.Millisecond) // FAT's clock ticks every two seconds
		}
	}
	if !bytes.Equal(images[0], images[1]) {
		t.Error("the same GUIDs gave different disks")
	}
	if bytes.Equal(images[0], images[2]) {
		t.Error("other GUIDs gave the same disk")
	}
}

// A disk that was something else must come out with nothing of it left that a
// tool would take for real.
func TestCreateWipesWhatWasThere(t *testing.T) {
	old := make([]byte, small.MinDisk())
	for i := range old {
		old[i] = 0xa5
	}
	dev := blockdev.NewMemory(old)
	d, err := disk.Create(dev, small, disk.Options{})
	if err != nil {
		t.Fatalf("Create() = %v", err)
	}
	for _, label := range []string{"esp", "abstate", "root-a", "root-b", "recovery", "nix", "home", "var"} {
		sec, err := d.Section(label)
		if err != nil {
			t.Fatal(err)
		}
		if blank, err := partitions.IsBlank(sec); err != nil || !blank {
			t.Errorf("IsBlank(%s) = %v, %v; want true", label, blank, err)
		}
	}
	for _, s := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB, bootctl.SlotRecovery} {
		sec, err := d.Slot(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := partitions.ReadSlot(sec); err != partitions.ErrEmpty {
			t.Errorf("ReadSlot(%v) = %v, want %v", s, err, partitions.ErrEmpty)
		}
	}
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, dev.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	checkGPT(t, path)
}

// An image that was streamed to where slot A begins stays, and nothing else.
func TestCreateAroundAnImage(t *testing.T) {
	old := bytes.Repeat([]byte{0xa5}, int(small.MinDisk()))
	for _, size := range []int64{4096, 3 << 20, partitions.Capacity(int64(small.Slot))} {
		dev := blockdev.NewMemory(bytes.Clone(old))
		d, err := disk.Create(dev, small, disk.Options{Image: size})
		if err != nil {
			t.Fatalf("Create() = %v", err)
		}
		sec, err := d.Slot(bootctl.SlotA)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, sec.Size())
		if _, err := sec.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:size], old[:size]) {
			t.Errorf("the image of %d bytes changed", size)
		}
		if next := got[size : size+4096]; !bytes.Equal(next, make([]byte, 4096)) {
			t.Errorf("behind the image of %d bytes there is what was there before", size)
		}
		if _, err := partitions.ReadSlot(sec); err != partitions.ErrEmpty {
			t.Errorf("ReadSlot() = %v; want %v", err, partitions.ErrEmpty)
		}
		if start := dev.Bytes()[small.SlotA():][:4096]; !bytes.Equal(start, old[:4096]) {
			t.Errorf("SlotA() is not where slot a begins")
		}
	}
	dev := blockdev.NewMemory(bytes.Clone(old))
	_, err := disk.Create(dev, small, disk.Options{Image: partitions.Capacity(int64(small.Slot)) + 4096})
	if fault.KindOf(err) != fault.NoRoom || !bytes.Equal(dev.Bytes(), old) {
		t.Errorf("Create() around an image that is too large = %v; want kind %d and nothing changed", err, fault.NoRoom)
	}
}

func TestBlank(t *testing.T) {
	dev := blockdev.NewMemory(make([]byte, small.MinDisk()))
	if _, err := disk.Create(dev, small, disk.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := disk.Blank(dev); err != nil {
		t.Fatal(err)
	}
	if _, err := partitions.Open(dev); !errors.Is(err, partitions.ErrNoLayout) {
		t.Errorf("Open() of a blank disk = %v; want %v", err, partitions.ErrNoLayout)
	}
}

func TestCreateFileIsSparse(t *testing.T) {
	path, _ := create(t, 8*disk.GiB, small, disk.Options{})
	out := oracle(t, "coreutils", "stat", "-c", "%b %s", path)
	var blocks, size int64
	if _, err := fmt.Sscan(out, &blocks, &size); err != nil {
		t.Fatal(err)
	}
	if size != int64(8*disk.GiB) || blocks*512 > 1<<20 {
		t.Errorf("stat: %d bytes in use of %d; want at most 1 MiB of 8 GiB", blocks*512, size)
	}
}

func TestCreateRefuses(t *testing.T) {
	tests := []struct {
		name string
		size disk.Size
		l    disk.Layout
		opt  disk.Options
		kind fault.Kind
		want string
	}{
		{"disk one byte too small", small.MinDisk() - 1, small, disk.Options{}, fault.NoRoom, "needs a disk of 88M (92274688 bytes), this one has 92274687"},
		{"unknown architecture", 0, small, disk.Options{Arch: "mips"}, fault.Usage, `architecture "mips"`},
		{"invalid layout", 0, disk.Layout{}, disk.Options{}, fault.Usage, "esp is 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.img")
			_, _, err := disk.CreateFile(path, tt.size, tt.l, tt.opt)
			if got := fault.KindOf(err); got != tt.kind || !strings.Contains(fmt.Sprint(err), tt.want) {
				t.Errorf("CreateFile() = %v (kind %d); want %q (kind %d)", err, got, tt.want, tt.kind)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("CreateFile() failed and left its file")
			}
		})
	}
	t.Run("file exists", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "disk.img")
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := disk.CreateFile(path, 0, small, disk.Options{}); err == nil {
			t.Error("CreateFile() over a file = nil error")
		}
		if b, _ := os.ReadFile(path); string(b) != "precious" {
			t.Errorf("CreateFile() over a file left %q", b)
		}
	})
}
