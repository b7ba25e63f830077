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

	"github.com/abupdate/abupdate/bootctl"
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
	zr, err := zstd.NewReader(bytes.NewReader(readSelector(t, d).Initrd))
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
		{"signed by another key, where unsigned would do", func(o *install.Options) {
			o.Boot.Trust, o.Boot.AllowLocal, o.SignKeys = []string{public}, true, []*keys.Private{stranger}
		}, "would not start"},
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

// buildUpdate makes a signed update.
func buildUpdate(t *testing.T, dir, tag string, with ...*keys.Private) (ref, digest string) {
	t.Helper()
	built, err := updater.Build(t.Context(), updater.BuildOptions{
		Ref: "oci:" + dir + ":" + tag, Dir: filepath.Join(t.TempDir(), "updates"), Tag: tag, SignKeys: with,
	})
	if err != nil {
		t.Fatal(err)
	}
	return "oci:" + built.Dir + ":" + tag, built.Digest
}

// A disk can be made of an update, without the key that signed it.
func TestImageFromUpdate(t *testing.T) {
	dir := images(t)
	key, public := keyFile(t, "vendor.pub")
	ref, digest := buildUpdate(t, dir, "v1", key)
	for _, tt := range []struct {
		name string
		edit func(*install.Options)
	}{
		{"slots of a given size", func(*install.Options) {}},
		{"default slots", func(o *install.Options) { o.SlotSize = 0 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := options(t, dir, "v1")
			opt.Ref, opt.Boot.Trust, opt.BothSlots = ref, []string{public}, true
			tt.edit(&opt)
			path := filepath.Join(t.TempDir(), "disk.raw")
			made, err := install.Image(t.Context(), opt, path, install.FormatRaw)
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, path)
			if diff := cmp.Diff(map[string]string{"a": "1.0", "b": "1.0", "recovery": "1.0"}, got.slots); diff != "" {
				t.Errorf("intact slots (-want +got):\n%s", diff)
			}
			if e := got.state.Slot(bootctl.SlotA); e.Status != bootctl.Good || e.Digest != digest || e.RootHash != made.RootHash {
				t.Errorf("slot a is %+v; want it good, with digest %s", e, digest)
			}
			if files := etc(t, got); files["trust.d/vendor.pub"] == "" {
				t.Errorf("the initramfs has %v; want the key", keysOf(files))
			}
			sys, err := updater.Open(updater.OpenOptions{Disk: path, Trust: []string{public}, Access: updater.Change})
			if err != nil {
				t.Fatal(err)
			}
			defer sys.Close()
			st, err := sys.Status()
			if err != nil {
				t.Fatal(err)
			}
			for slot, s := range st.Slots {
				if s.SignedBy == "" {
					t.Errorf("slot %s: %+v; want it signed", slot, s.SignatureStatus)
				}
			}
			if _, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref}); fault.KindOf(err) != fault.Nothing {
				t.Errorf("Apply() of the same update = %v; want nothing to do", err)
			}
		})
	}
}

func TestImageFromUpdateRefuses(t *testing.T) {
	dir := images(t)
	key, public := keyFile(t, "vendor.pub")
	stranger, _ := keyFile(t, "stranger.pub")
	signed, _ := buildUpdate(t, dir, "v1", key)
	golden, _ := buildUpdate(t, dir, "golden", key)
	unsigned, _ := buildUpdate(t, dir, "v1")
	wrong, _ := buildUpdate(t, dir, "v1", stranger)
	trusting := func(o *install.Options) { o.Boot.Trust = []string{public} }
	for _, tt := range []struct {
		name, ref string
		edit      func(*install.Options)
		kind      fault.Kind
		want      string
	}{
		{"unsigned", unsigned, trusting, fault.Verify, "unsigned"},
		{"signed by another key", wrong, trusting, fault.Verify, "no valid signature"},
		{"a key to sign it with", signed, func(o *install.Options) { o.SignKeys = []*keys.Private{key} }, fault.Usage, "abupdate sign"},
		{"an unsigned recovery image", signed, func(o *install.Options) { trusting(o); o.Recovery = "oci:" + dir + ":golden" }, fault.Usage, "the recovery image"},
		{"an unsigned recovery update", signed, func(o *install.Options) { trusting(o); o.Recovery = unsigned }, fault.Verify, "unsigned"},
		{"a signed recovery update", signed, func(o *install.Options) { trusting(o); o.Recovery = golden }, 0, ""},
		{"a recovery image that is signed here", signed, func(o *install.Options) {
			trusting(o)
			o.Recovery, o.SignKeys = "oci:"+dir+":golden", []*keys.Private{key}
		}, 0, ""},
		{"slots too small", signed, func(o *install.Options) { o.SlotSize, o.Size = disk.MinSlot, 60*disk.MiB }, fault.NoRoom, "disk"},
		{"signed by another key, where unsigned would do", wrong, func(o *install.Options) { trusting(o); o.Boot.AllowLocal = true }, fault.Verify, "no valid signature"},
		{"unsigned, where that is allowed", unsigned, func(o *install.Options) { trusting(o); o.Boot.AllowLocal = true }, 0, ""},
	} {
		opt := options(t, dir, "v1")
		opt.Ref = tt.ref
		tt.edit(&opt)
		_, err := install.Image(t.Context(), opt, filepath.Join(t.TempDir(), "disk.raw"), install.FormatRaw)
		if fault.KindOf(err) != tt.kind || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Image() = %v; want kind %d and %q", tt.name, err, tt.kind, tt.want)
		}
	}
}
