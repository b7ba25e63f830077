package compose_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater/compose"
	ut "github.com/abupdate/abupdate/updater/updatertest"
	"github.com/abupdate/abupdate/verity"
)

// open finds a small image.
func open(t *testing.T, im ut.Image, opt oci.Options) *oci.Image {
	t.Helper()
	ref, err := oci.ParseReference("oci:" + ut.Layout(t, map[string]ut.Image{"x": im}) + ":x")
	if err != nil {
		t.Fatal(err)
	}
	opt.Platform = "linux/amd64"
	img, err := oci.Resolve(t.Context(), ref, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

// plan reads a small image's headers.
func plan(t *testing.T, im ut.Image) (*oci.Image, *oci.Plan) {
	t.Helper()
	img := open(t, im, oci.Options{})
	p, err := oci.Read(t.Context(), img, nil)
	if err != nil {
		t.Fatal(err)
	}
	return img, p
}

func TestDescribe(t *testing.T) {
	const usual = "etc/os-release"
	for _, tt := range []struct {
		name  string
		image ut.Image
		opt   compose.Options
		want  manifest.Manifest // of the fields that are compared
		early manifest.Manifest // what of it the config tells, besides what they have in common
	}{
		{"label before os-release", ut.Image{Version: "1.2"}, compose.Options{},
			manifest.Manifest{Version: "1.2", Title: "Test System"}, manifest.Manifest{Version: "1.2"}},
		{"given before label", ut.Image{Version: "1.2"}, compose.Options{Version: "9", Compatible: "b"},
			manifest.Manifest{Version: "9", Title: "Test System", Compatible: "b"}, manifest.Manifest{Version: "9", Compatible: "b"}},
		{"IMAGE_VERSION before VERSION_ID", ut.Image{Files: map[string]string{usual: "VERSION_ID=12\nIMAGE_VERSION='12.7'\n"}}, compose.Options{},
			manifest.Manifest{Version: "12.7"}, manifest.Manifest{}},
		{"VERSION_ID", ut.Image{}, compose.Options{},
			manifest.Manifest{Version: "0.1", Title: "Test System"}, manifest.Manifest{}},
		{"os-release by a symlink", ut.Image{Files: map[string]string{
			usual: "-> ../usr/lib/os-release", "usr/lib/os-release": "# comment\nPRETTY_NAME=\"A \\\"B\\\"\"\nVERSION_ID=\"7\"\n",
		}}, compose.Options{},
			manifest.Manifest{Version: "7", Title: `A "B"`}, manifest.Manifest{}},
		{"labels", ut.Image{Version: "1", Labels: map[string]string{
			compose.LabelCompatible: "board1", compose.LabelMinVersion: "0.5", compose.LabelTitle: "T",
		}}, compose.Options{},
			manifest.Manifest{Version: "1", Title: "T", Compatible: "board1", MinVersion: "0.5"}, manifest.Manifest{Version: "1", Title: "T", Compatible: "board1", MinVersion: "0.5"}},
		{"kernel arguments", ut.Image{Version: "1", Files: map[string]string{
			"usr/lib/abupdate/kargs.d/20-b.toml": "kargs = ['key=a b', 'mitigations=off']\nmatch-architectures = ['x86_64']\n",
			"usr/lib/abupdate/kargs.d/10-a.toml": "kargs = ['quiet']\n",
			"usr/lib/abupdate/kargs.d/30-c.toml": "kargs = ['arm64.nosve']\nmatch-architectures = ['aarch64']\n",
			"usr/lib/abupdate/kargs.d/README":    "not TOML",
		}}, compose.Options{},
			manifest.Manifest{Version: "1", Title: "Test System", Kargs: `quiet key="a b" mitigations=off`}, manifest.Manifest{Version: "1"}},
		{"what devices keep", ut.Image{Version: "1", Files: map[string]string{
			"usr/lib/abupdate/config.d/10-a.toml": "etc = 'ephemeral'\n[persist]\npaths = ['/srv', '/root']\n",
			"usr/lib/abupdate/config.d/20-b.toml": "etc = 'persist'\n[persist]\npaths = ['/root']\n",
		}}, compose.Options{},
			manifest.Manifest{Version: "1", Title: "Test System", Etc: manifest.EtcPersist, Persist: []string{"/root", "/srv"}}, manifest.Manifest{Version: "1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, p := plan(t, tt.image)
			ignore := cmpopts.IgnoreFields(manifest.Manifest{}, "Encoder")
			tt.early.Format, tt.early.Architecture = 1, "amd64"
			tt.early.SourceDigest, tt.early.Created = img.Digest(), "2023-11-14T22:13:20Z"
			got := compose.Describe(img, tt.opt)
			if diff := cmp.Diff(tt.early, got, ignore); diff != "" {
				t.Errorf("Describe() (-want +got):\n%s", diff)
			}
			if err := compose.DescribeFiles(t.Context(), &got, p, tt.opt); err != nil {
				t.Fatal(err)
			}
			tt.want.Format, tt.want.Architecture, tt.want.Kernel = 1, "amd64", ut.Kernel
			tt.want.SourceDigest, tt.want.Created = tt.early.SourceDigest, tt.early.Created
			if diff := cmp.Diff(tt.want, got, ignore); diff != "" {
				t.Errorf("DescribeFiles() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDropinsThatAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"not TOML", "kargs = [", "reading /usr/lib/abupdate/kargs.d/x.toml"},
		{"a key of a later version", "kargs = []\nunless = 'x'\n", "unknown key unless"},
		{"two in one", "kargs = ['quiet splash']", "not of the form"},
		{"the end of the kernel's part", "kargs = ['--']", "not of the form"},
		{"another slot", "kargs = ['abupdate.slot=a']", "cannot choose what boots"},
		{"a line break", "kargs = [\"a=b\\nc\"]", "control characters"},
		{"a quote", "kargs = ['a=b\"c']", "a quote"},
		{"too much", "kargs = ['a=" + strings.Repeat("b", 1100) + "']", "more than 1024"},
	} {
		dropIn(t, compose.KargsDir, tt.name, tt.text, tt.want)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"not TOML", "etc = ", "reading /usr/lib/abupdate/config.d/x.toml"},
		{"a key of a later version", "[persist]\nfiles = []", "unknown key persist.files"},
		{"a way that is not known", "etc = 'merge'", `etc is "merge"`},
		{"an empty way", "etc = ''", `etc is ""`},
		{"a path in /usr", "[persist]\npaths = ['/usr/local']", "/usr/local is in /usr"},
		{"no path", "[persist]\npaths = ['srv']", "not the plain path"},
	} {
		dropIn(t, compose.ConfigDir, tt.name, tt.text, tt.want)
	}
}

// dropIn expects an image with one file in a folder to be refused.
func dropIn(t *testing.T, dir, name, text, want string) {
	t.Helper()
	img, p := plan(t, ut.Image{Files: map[string]string{dir + "/x.toml": text}})
	m := compose.Describe(img, compose.Options{})
	err := compose.DescribeFiles(t.Context(), &m, p, compose.Options{})
	if err == nil || !strings.Contains(err.Error(), want) || fault.KindOf(err) != fault.Usage {
		t.Errorf("%s: DescribeFiles() = %v; want a usage error with %q", name, err, want)
	}
}

func TestDescribeTakesTheVersionFromTheDigest(t *testing.T) {
	img, p := plan(t, ut.Image{Files: map[string]string{"etc/os-release": "ID=x\n"}})
	got := compose.Describe(img, compose.Options{})
	if err := compose.DescribeFiles(t.Context(), &got, p, compose.Options{}); err != nil {
		t.Fatal(err)
	}
	if want := "sha256." + img.Digest()[7:19]; got.Version != want {
		t.Errorf("version is %q; want %q", got.Version, want)
	}
}

func TestFindKernel(t *testing.T) {
	const r = "6.1.0-9"
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  compose.Kernel
		err   string // part of the error
	}{
		{name: "beside its modules", files: map[string]string{"usr/lib/modules/6.1.0-9/vmlinuz": "k"},
			want: compose.Kernel{Release: r, Path: "usr/lib/modules/6.1.0-9/vmlinuz", Modules: "usr/lib/modules/6.1.0-9"}},
		{name: "in /boot", files: map[string]string{"boot/vmlinuz-6.1.0-9": "k", "usr/lib/modules/6.1.0-9/modules.builtin": ""},
			want: compose.Kernel{Release: r, Path: "boot/vmlinuz-6.1.0-9", Modules: "usr/lib/modules/6.1.0-9"}},
		{name: "in /boot, modules in /lib", files: map[string]string{"boot/vmlinuz-6.1.0-9": "k", "lib/modules/6.1.0-9/modules.builtin": ""},
			want: compose.Kernel{Release: r, Path: "boot/vmlinuz-6.1.0-9", Modules: "lib/modules/6.1.0-9"}},
		{name: "/lib is a symlink", files: map[string]string{"lib": "-> usr/lib", "boot/vmlinuz-6.1.0-9": "k", "usr/lib/modules/6.1.0-9/modules.builtin": ""},
			want: compose.Kernel{Release: r, Path: "boot/vmlinuz-6.1.0-9", Modules: "usr/lib/modules/6.1.0-9"}},
		{name: "in both places: beside its modules", files: map[string]string{"boot/vmlinuz-6.1.0-9": "k", "usr/lib/modules/6.1.0-9/vmlinuz": "k"},
			want: compose.Kernel{Release: r, Path: "usr/lib/modules/6.1.0-9/vmlinuz", Modules: "usr/lib/modules/6.1.0-9"}},
		{name: "a symlink to it", files: map[string]string{"usr/lib/modules/6.1.0-9/vmlinuz": "-> /boot/image", "boot/image": "k"},
			want: compose.Kernel{Release: r, Path: "boot/image", Modules: "usr/lib/modules/6.1.0-9"}},
		{name: "no modules", files: map[string]string{"boot/vmlinuz-6.1.0-9": "k"}, err: "no kernel in the image"},
		{name: "none", err: "no kernel in the image"},
		{name: "a dangling symlink", files: map[string]string{"usr/lib/modules/6.1.0-9/vmlinuz": "-> /boot/image"}, err: "no kernel in the image"},
		{name: "two", files: map[string]string{"usr/lib/modules/6.1.0-9/vmlinuz": "k", "usr/lib/modules/6.1.0-8/vmlinuz": "k"},
			err: "the image has 2 (6.1.0-8, 6.1.0-9)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, p := plan(t, ut.Image{Kernel: ut.NoKernel, Files: tt.files})
			got, err := compose.FindKernel(p)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("FindKernel() = %+v, %v; want an error with %q", got, err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("FindKernel() error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// memory is a WriterAt that grows.
type memory struct{ b []byte }

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if need := int(off) + len(p); need > len(m.b) {
		m.b = append(m.b, make([]byte, need-len(m.b))...)
	}
	return copy(m.b[off:], p), nil
}

func composed(t *testing.T, im ut.Image, opt compose.Options) ([]byte, *compose.Result) {
	t.Helper()
	m := new(memory)
	made, err := compose.Compose(t.Context(), open(t, im, oci.Options{}), compose.Sink(m), opt)
	if err != nil {
		t.Fatal(err)
	}
	return m.b, made
}

var full = ut.Image{Version: "1", Noise: 700_000, Files: map[string]string{
	"etc/motd": "hello\n", "usr/bin/sh": "-> busybox", "usr/bin/busybox": strings.Repeat("text ", 100_000), "srv/empty": "",
}}

// Same image, same options: same bytes, whatever the number of workers, and
// wherever hashes are kept.
func TestComposeIsReproducible(t *testing.T) {
	first, made := composed(t, full, compose.Options{})
	want, err := made.Manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, workers := range []int{1, 2, 8} {
		again, made := composed(t, full, compose.Options{Squashfs: squashfs.Options{Workers: workers}})
		got, err := made.Manifest.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, again) || !bytes.Equal(want, got) {
			t.Errorf("with %d workers image or manifest differ", workers)
		}
	}
	again, elsewhere := composed(t, full, compose.Options{Hashes: blockdev.NewMemory(make([]byte, 1<<20))})
	if !bytes.Equal(first, again) || !cmp.Equal(elsewhere.Manifest, made.Manifest) {
		t.Errorf("with hashes on a device the image or the manifest differs")
	}
	var trees [2]bytes.Buffer
	for i, tree := range []*verity.Tree{made.Tree, elsewhere.Tree} {
		if _, err := tree.WriteTo(&trees[i]); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(trees[0].Bytes(), trees[1].Bytes()) {
		t.Errorf("with hashes on a device the tree differs")
	}
}

// What compose says of image and tree is what veritysetup finds, and
// unsquashfs reads the files.
func TestComposeAgainstTools(t *testing.T) {
	image, made := composed(t, full, compose.Options{})
	m := made.Manifest
	if int64(len(image)) != m.ImageBytes || m.DataBlocks*4096 != m.ImageBytes || m.HashOffset != m.ImageBytes {
		t.Errorf("image of %d bytes; the manifest says %d, %d blocks, hash offset %d", len(image), m.ImageBytes, m.DataBlocks, m.HashOffset)
	}
	if m.RootHash != hex.EncodeToString(made.Tree.RootHash) {
		t.Errorf("root hash %s; the tree's is %x", m.RootHash, made.Tree.RootHash)
	}
	var tree bytes.Buffer
	if n, err := made.Tree.WriteTo(&tree); err != nil || n != m.TreeBytes {
		t.Fatalf("tree of %d bytes, %v; the manifest says %d", n, err, m.TreeBytes)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "image")
	writeFile(t, file, append(image, tree.Bytes()...))
	run(t, "cryptsetup-bin", "veritysetup", "verify", file, file, m.RootHash, "--hash-offset="+strconv.FormatInt(m.HashOffset, 10))
	if got := run(t, "squashfs-tools", "unsquashfs", "-cat", file, "etc/motd"); got != "hello\n" {
		t.Errorf("etc/motd in the image is %q", got)
	}
	if got := run(t, "squashfs-tools", "unsquashfs", "-s", file); !strings.Contains(got, "1700000000") && !strings.Contains(got, "Nov 14") {
		t.Errorf("the superblock's time is not the image's:\n%s", got)
	}
}

func TestComposeCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	img := open(t, full, oci.Options{Progress: func(oci.Progress) { cancel() }})
	if _, err := compose.Compose(ctx, img, compose.Sink(new(memory)), compose.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Compose() = %v; want %v", err, context.Canceled)
	}
}

// A target that fails ends the composing with its error.
func TestComposeIntoAFailingSink(t *testing.T) {
	img := open(t, full, oci.Options{})
	if _, err := compose.Compose(t.Context(), img, compose.Sink(failing{}), compose.Options{}); !errors.Is(err, errFull) {
		t.Errorf("Compose() = %v; want %v", err, errFull)
	}
}

var errFull = errors.New("full")

type failing struct{}

func (failing) WriteAt([]byte, int64) (int, error) { return 0, errFull }

func TestCheckOptions(t *testing.T) {
	if err := compose.CheckOptions(squashfs.Options{}); err != nil {
		t.Errorf("CheckOptions of the defaults = %v", err)
	}
	for _, opt := range []squashfs.Options{{BlockSize: 5000}, {Level: 99}, {Level: -1}, {BlockSize: 2 << 20}} {
		if err := compose.CheckOptions(opt); err == nil {
			t.Errorf("CheckOptions(%+v) = nil; want an error", opt)
		}
	}
}
