// Package updatertest makes small images and disks for tests of what is built
// on package updater.
package updatertest

import (
	"archive/tar"
	"bytes"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Kernel is the release of the kernel in every Image that names none.
const Kernel = "6.1.0-test"

// NoKernel as Image.Kernel leaves the kernel out.
const NoKernel = "-"

// An Image is a small system. The zero value is a whole one.
type Image struct {
	Version string // label, "" for none
	Arch    string // "" is amd64
	Kernel  string // "" is Kernel
	Labels  map[string]string
	Files   map[string]string // content by path; "-> x" is a symlink to x, "=> x" a further name of x
	// Upper are files of a second layer, likewise; ".wh.x" hides x. Their
	// folders have no entries of their own.
	Upper map[string]string
	// Noise is the size of a file that cannot be compressed, made from the
	// Version.
	Noise int
}

// Make returns the image.
func (im Image) Make(tb testing.TB) v1.Image {
	tb.Helper()
	files := map[string]string{"etc/os-release": "ID=test\nPRETTY_NAME=\"Test System\"\nVERSION_ID=0.1\n"}
	switch kernel := im.Kernel; kernel {
	case NoKernel:
	case "":
		im.Kernel = Kernel
		fallthrough
	default:
		files["usr/lib/modules/"+im.Kernel+"/vmlinuz"] = "kernel " + im.Kernel
	}
	if im.Noise > 0 {
		files["usr/noise"] = Noise(im.Version, im.Noise)
	}
	maps.Copy(files, im.Files)
	layers := []map[string]string{files}
	if im.Upper != nil {
		layers = append(layers, im.Upper)
	}
	img := empty.Image
	for i, files := range layers {
		tar := tarOf(tb, files, i == 0)
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(tar)), nil })
		if err != nil {
			tb.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			tb.Fatal(err)
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		tb.Fatal(err)
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture, cf.Created = "linux", im.Arch, v1.Time{Time: time.Unix(1_700_000_000, 0).UTC()}
	if cf.Architecture == "" {
		cf.Architecture = "amd64"
	}
	cf.Config.Labels = maps.Clone(im.Labels)
	if im.Version != "" {
		if cf.Config.Labels == nil {
			cf.Config.Labels = make(map[string]string)
		}
		cf.Config.Labels["org.opencontainers.image.version"] = im.Version
	}
	if img, err = mutate.ConfigFile(img, cf); err != nil {
		tb.Fatal(err)
	}
	return img
}

// Layout writes images into a new OCI layout, each under its key as tag, and
// returns the folder.
func Layout(tb testing.TB, images map[string]Image) string {
	tb.Helper()
	dir := tb.TempDir()
	WriteLayout(tb, dir, images)
	return dir
}

// Shared is a Layout that all tests of a program use: it is made once, and
// removed by the returned function, which belongs at the end of TestMain.
func Shared(images map[string]Image) (layout func(tb testing.TB) string, remove func()) {
	var once sync.Once
	var dir string
	layout = func(tb testing.TB) string {
		tb.Helper()
		once.Do(func() {
			var err error
			if dir, err = os.MkdirTemp("", "abupdate-layout-"); err != nil {
				tb.Fatal(err)
			}
			WriteLayout(tb, dir, images)
		})
		return dir
	}
	return layout, func() { os.RemoveAll(dir) }
}

// WriteLayout is Layout into a given folder.
func WriteLayout(tb testing.TB, dir string, images map[string]Image) {
	tb.Helper()
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		tb.Fatal(err)
	}
	for _, tag := range slices.Sorted(maps.Keys(images)) {
		err := l.AppendImage(images[tag].Make(tb), layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": tag}))
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// Noise is n bytes that no compressor makes smaller, the same for the same
// seed.
func Noise(seed string, n int) string {
	var key [32]byte
	copy(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return string(b)
}

func tarOf(tb testing.TB, files map[string]string, folders bool) []byte {
	tb.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	dirs := make(map[string]bool)
	var parents func(dir string)
	parents = func(dir string) {
		if dir == "." || dirs[dir] {
			return
		}
		parents(path.Dir(dir))
		dirs[dir] = true
		add(tb, w, &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755}, "")
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if folders {
			parents(path.Dir(name))
		}
		if target, ok := strings.CutPrefix(files[name], "-> "); ok {
			add(tb, w, &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, "")
			continue
		}
		if target, ok := strings.CutPrefix(files[name], "=> "); ok {
			add(tb, w, &tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, "")
			continue
		}
		add(tb, w, &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o644}, files[name])
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return buf.Bytes()
}

func add(tb testing.TB, w *tar.Writer, h *tar.Header, content string) {
	tb.Helper()
	h.ModTime = time.Unix(1_600_000_000, 0)
	if err := w.WriteHeader(h); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		tb.Fatal(err)
	}
}
