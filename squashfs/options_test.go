package squashfs_test

import (
	"os"
	"regexp"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/squashfs"
)

func TestEncoder(t *testing.T) {
	for _, tt := range []struct {
		opt  squashfs.Options
		want string
	}{
		{squashfs.Options{}, "abupdate-squashfs/3 zstd level 3 128K aligned klauspost/"},
		{squashfs.Options{Workers: 7, ModTime: 9}, "abupdate-squashfs/3 zstd level 3 128K aligned klauspost/"},
		{squashfs.Options{Compression: squashfs.Gzip, BlockSize: 1 << 20, Layout: squashfs.Compact}, "abupdate-squashfs/3 gzip level 6 1024K compact klauspost/"},
		{squashfs.Options{Compression: squashfs.None, BlockSize: 4096}, "abupdate-squashfs/3 none 4K aligned klauspost/"},
		{squashfs.Options{Level: 19}, "abupdate-squashfs/3 zstd level 19 128K aligned klauspost/"},
	} {
		if got, want := tt.opt.Encoder(), tt.want+klauspost(t); got != want {
			t.Errorf("%+v.Encoder() = %q; want %q", tt.opt, got, want)
		}
	}
}

// klauspost returns the version in go.mod.
func klauspost(t *testing.T) string {
	t.Helper()
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`github.com/klauspost/compress v(\S+)`).FindSubmatch(mod)
	if m == nil {
		t.Fatal("go.mod does not name klauspost/compress")
	}
	return string(m[1])
}

func TestBadOptions(t *testing.T) {
	for _, opt := range []squashfs.Options{
		{BlockSize: 2048}, {BlockSize: 2 << 20}, {BlockSize: 100_000}, {BlockSize: -4096}, {Level: -1}, {Level: 23},
		{Compression: squashfs.Gzip, Level: 10}, {Compression: squashfs.None, Level: 1}, {Compression: 3}, {Layout: 2}, {Workers: -1},
	} {
		w, err := squashfs.NewWriter(&memory{}, opt)
		if fault.KindOf(err) != fault.Usage || w != nil {
			t.Errorf("NewWriter(%+v) = %v, %v; want an error of kind Usage", opt, w, err)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []squashfs.Compression{squashfs.Zstd, squashfs.Gzip, squashfs.None} {
		if got, err := squashfs.ParseCompression(c.String()); got != c || err != nil {
			t.Errorf("ParseCompression(%q) = %v, %v", c, got, err)
		}
	}
	for _, l := range []squashfs.Layout{squashfs.Aligned, squashfs.Compact} {
		if got, err := squashfs.ParseLayout(l.String()); got != l || err != nil {
			t.Errorf("ParseLayout(%q) = %v, %v", l, got, err)
		}
	}
	if _, err := squashfs.ParseCompression("lzma"); fault.KindOf(err) != fault.Usage {
		t.Errorf("ParseCompression(lzma) = %v; want an error of kind Usage", err)
	}
	if _, err := squashfs.ParseLayout("Aligned"); fault.KindOf(err) != fault.Usage {
		t.Errorf("ParseLayout(Aligned) = %v; want an error of kind Usage", err)
	}
}
