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
		{"default", squashfs.Options{}, "zstd level 3 256K"},
		{"fast", squashfs.Options{}, "zstd level 1 256K"},
		{"best", squashfs.Options{}, "zstd level 22 1024K"},
		{"best", squashfs.Options{BlockSize: 128 << 10}, "zstd level 22 128K"},
		{"best", squashfs.Options{Compression: squashfs.Gzip}, "gzip level 9 1024K"},
		{"fast", squashfs.Options{Compression: squashfs.Gzip}, "gzip level 1 256K"},
		{"best", squashfs.Options{Compression: squashfs.None}, "none 1024K"},
	} {
		p, err := squashfs.ParsePreset(tt.preset)
		if err != nil {
			t.Fatal(err)
		}
		opt := tt.opt
		p.Set(&opt)
		if got, want := opt.Encoder(), "abupdate-squashfs/2 "+tt.want+" aligned klauspost/"+klauspost(t); got != want {
			t.Errorf("%s of %+v: %q; want %q", tt.preset, tt.opt, got, want)
		}
	}
	if _, err := squashfs.ParsePreset("most"); fault.KindOf(err) != fault.Usage {
		t.Errorf("ParsePreset(most) = %v; want a usage error", err)
	}
}
