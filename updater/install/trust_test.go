package install_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/install"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

// keyFile makes a key and the file with its public half.
func keyFile(t *testing.T, name string) (*keys.Private, string) {
	t.Helper()
	k, err := keys.Generate(keys.P256)
	if err != nil {
		t.Fatal(err)
	}
	text, err := k.PublicPEM()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return k, path
}

// etc returns the files below /etc/abupdate of the initramfs in the selector.
func etc(t *testing.T, d onDisk) map[string]string {
	t.Helper()
	loader, err := disk.ReadESP(d.disk, updater.LoaderPath("amd64"))
	if err != nil {
		t.Fatal(err)
	}
	uki, err := build.ReadUKI(bytes.NewReader(loader))
	if err != nil {
		t.Fatal(err)
	}
	zr, err := zstd.NewReader(bytes.NewReader(uki.Initrd))
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	raw, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		if name, ok := strings.CutPrefix(r.Name, "etc/abupdate/"); ok && r.FileSize > 0 {
			b, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(b)
		}
	}
	return files
}

func TestImageWithKeys(t *testing.T) {
	dir := images(t)
	key, public := keyFile(t, "vendor.pub")
	_, other := keyFile(t, "other") // a name without the suffix
	text := func(name string) string {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const config = `{"allow_local":true}`
	for _, tt := range []struct {
		name   string
		edit   func(*install.Options)
		files  map[string]string // of trust in the initramfs
		signed bool
	}{
		{"no keys", func(*install.Options) {}, map[string]string{}, false},
		{"keys", func(o *install.Options) {
			o.Boot.Trust, o.SignKeys = []string{public, other}, []*keys.Private{key}
		}, map[string]string{"trust.d/vendor.pub": text(public), "trust.d/other.pub": text(other)}, true},
		{"a folder of keys", func(o *install.Options) {
			o.Boot.Trust, o.SignKeys = []string{filepath.Dir(public)}, []*keys.Private{key}
		}, map[string]string{"trust.d/vendor.pub": text(public)}, true},
		{"local allowed", func(o *install.Options) {
			o.Boot.Trust, o.Boot.AllowLocal = []string{public}, true
		}, map[string]string{"trust.d/vendor.pub": text(public), "initramfs.json": config}, false},
		{"local allowed, and signed", func(o *install.Options) {
			o.Boot.Trust, o.Boot.AllowLocal, o.SignKeys = []string{public}, true, []*keys.Private{key}
		}, map[string]string{"trust.d/vendor.pub": text(public), "initramfs.json": config}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := options(t, dir, "v1")
			opt.BothSlots, opt.Recovery = true, "oci:"+dir+":golden"
			tt.edit(&opt)
			path := filepath.Join(t.TempDir(), "disk.raw")
			made, err := install.Image(t.Context(), opt, path, install.FormatRaw)
			if err != nil {
				t.Fatal(err)
			}
			files := etc(t, read(t, path))
			for name := range files {
				if !strings.HasPrefix(name, "trust.d/") && name != "initramfs.json" {
					delete(files, name)
				}
			}
			if diff := cmp.Diff(tt.files, files); diff != "" {
				t.Errorf("trust in the initramfs (-want +got):\n%s", diff)
			}
			if want := strings.Count(strings.Join(keysOf(tt.files), " "), ".pub"); len(made.Trusted) != want {
				t.Errorf("trusted keys: %v; want %d", made.Trusted, want)
			}
			sys, err := updater.Open(updater.OpenOptions{Disk: path, Trust: []string{public}})
			if err != nil {
				t.Fatal(err)
			}
			defer sys.Close()
			st, err := sys.Status()
			if err != nil {
				t.Fatal(err)
			}
			for _, slot := range []string{"a", "b", "recovery"} {
				if got := st.Slots[slot]; (got.SignedBy != "") != tt.signed {
					t.Errorf("slot %s: %+v; want it signed: %v", slot, got.SignatureStatus, tt.signed)
				}
			}
		})
	}
}

func keysOf(m map[string]string) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// A disk that would not start is not made.
func TestImageRefusesTrust(t *testing.T) {
	dir := images(t)
	key, public := keyFile(t, "vendor.pub")
	stranger, _ := keyFile(t, "stranger.pub")
	_, twin := keyFile(t, "vendor.pub")
	for _, tt := range []struct {
		name string
		edit func(*install.Options)
		want string
	}{
		{"unsigned", func(o *install.Options) { o.Boot.Trust = []string{public} }, "give --sign-key, or --allow-local"},
		{"signed by another key", func(o *install.Options) { o.Boot.Trust, o.SignKeys = []string{public}, []*keys.Private{stranger} }, "would not start"},
		{"allowed without keys", func(o *install.Options) { o.Boot.AllowLocal = true }, "goes with --trust"},
		{"no such file", func(o *install.Options) { o.Boot.Trust = []string{"/nonexistent"} }, "/nonexistent"},
		{"no keys in a folder", func(o *install.Options) { o.Boot.Trust = []string{t.TempDir()} }, "no public key"},
		{"two of one name", func(o *install.Options) { o.Boot.Trust, o.SignKeys = []string{public, twin}, []*keys.Private{key} }, "called vendor.pub"},
	} {
		opt := options(t, dir, "v1")
		tt.edit(&opt)
		path := filepath.Join(t.TempDir(), "disk.raw")
		_, err := install.Image(t.Context(), opt, path, install.FormatRaw)
		if fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Image() = %v; want kind %d and %q", tt.name, err, fault.Usage, tt.want)
		}
		if left := names(t, filepath.Dir(path)); len(left) != 0 {
			t.Errorf("%s: there is %v", tt.name, left)
		}
	}
}
