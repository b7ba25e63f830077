package dm_test

import (
	"bytes"
	"strings"
	"testing"

	devmapper "github.com/anatol/devmapper.go"
	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/verity/dm"
)

func target() dm.Target {
	return dm.Target{
		Name:       "root",
		Device:     "/dev/vda3",
		DataBlocks: 1000,
		HashOffset: 1000 * 4096,
		Salt:       []byte{0xab, 0xcd},
		RootHash:   bytes.Repeat([]byte{0x11}, 32),
	}
}

func TestTable(t *testing.T) {
	want := devmapper.VerityTable{
		Length:         1000 * 4096, // bytes
		HashType:       1,
		DataDevice:     "/dev/vda3",
		HashDevice:     "/dev/vda3",
		DataBlockSize:  4096,
		HashBlockSize:  4096,
		NumDataBlocks:  1000,
		HashStartBlock: 1001, // blocks, behind the superblock
		Algorithm:      "sha256",
		Digest:         strings.Repeat("11", 32),
		Salt:           "abcd",
	}
	for _, tt := range []struct {
		name   string
		change func(t *dm.Target, want *devmapper.VerityTable)
	}{
		{"plain", func(*dm.Target, *devmapper.VerityTable) {}},
		{"options behind their number", func(t *dm.Target, want *devmapper.VerityTable) {
			t.RestartOnCorruption = true
			want.Params = []string{"1", "restart_on_corruption"}
		}},
		{"no salt is a dash", func(t *dm.Target, want *devmapper.VerityTable) {
			t.Salt = nil
			want.Salt = "-"
		}},
		{"room between data and tree, past 4 GiB", func(t *dm.Target, want *devmapper.VerityTable) {
			t.HashOffset = 5 << 30
			want.HashStartBlock = 5<<30/4096 + 1
		}},
	} {
		in, want := target(), want
		tt.change(&in, &want)
		got, err := in.Table()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: Table() error %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
}

// A bad target is refused before the kernel is asked for anything, so this
// needs neither root nor a device mapper.
func TestBadTarget(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *dm.Target)
		want   string
	}{
		{"no name", func(t *dm.Target) { t.Name = "" }, "name has 0 bytes"},
		{"name too long", func(t *dm.Target) { t.Name = strings.Repeat("x", 128) }, "name has 128 bytes"},
		{"no data", func(t *dm.Target) { t.DataBlocks = 0 }, "0 data blocks"},
		{"more data than an offset holds", func(t *dm.Target) { t.DataBlocks = 1 << 62 }, "data blocks"},
		{"tree within the data", func(t *dm.Target) { t.HashOffset -= 4096 }, "data ends at"},
		{"tree within a block", func(t *dm.Target) { t.HashOffset++ }, "hash tree at byte 4096001"},
		{"short root hash", func(t *dm.Target) { t.RootHash = t.RootHash[1:] }, "root hash of 31 bytes"},
		{"long salt", func(t *dm.Target) { t.Salt = make([]byte, 257) }, "salt of 257 bytes"},
		{"device with a space", func(t *dm.Target) { t.Device = "/dev/a b" }, "device"},
	} {
		in := target()
		tt.change(&in)
		if _, err := dm.Open(in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Open() = %v; want %q in it", tt.name, err, tt.want)
		}
	}
}
