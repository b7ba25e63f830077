package squashfs_test

import (
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/squashfs"
)

func TestPreset(t *testing.T) {
	for _, tt := range []struct {
		preset string
		opt    squashfs.Options
		want   string // of Encoder
	}{
		{"default", squashfs.Options{}, "zstd level 3 128K"},
		{"fast", squashfs.Options{}, "zstd level 1 128K"},
		{"best", squashfs.Options{}, "zstd level 22 512K"},
		{"best", squashfs.Options{BlockSize: 128 << 10}, "zstd level 22 128K"},
		{"best", squashfs.Options{Compression: squashfs.Gzip}, "gzip level 9 512K"},
		{"fast", squashfs.Options{Compression: squashfs.Gzip}, "gzip level 1 128K"},
		{"best", squashfs.Options{Compression: squashfs.None}, "none 512K"},
	} {
		p, err := squashfs.ParsePreset(tt.preset)
		if err != nil {
			t.Fatal(err)
		}
		opt := tt.opt
		p.Set(&opt)
		if got, want := opt.Encoder(), "abupdate-squashfs/3 "+tt.want+" aligned klauspost/"+klauspost(t); got != want {
			t.Errorf("%s of %+v: %q; want %q", tt.preset, tt.opt, got, want)
		}
	}
	if _, err := squashfs.ParsePreset("most"); fault.KindOf(err) != fault.Usage {
		t.Errorf("ParsePreset(most) = %v; want a usage error", err)
	}
}
