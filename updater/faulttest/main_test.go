package faulttest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// shared is what all tests use and none changes.
var shared struct {
	dir     string
	program string // the command abupdate
	images  string // layout of ordinary images
	updates string // layout of what build made of them
	disk    template
	once    sync.Once
	err     error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// setUp builds the command and makes the updates and a disk whose slot A holds
// the first of them.
func setUp(t *testing.T) {
	t.Helper()
	shared.once.Do(func() { shared.err = prepare(t) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
}

func prepare(t *testing.T) (err error) {
	if shared.dir, err = os.MkdirTemp("", "abupdate-faults-"); err != nil {
		return err
	}
	if shared.program, err = buildCommand(shared.dir); err != nil {
		return err
	}
	shared.images, shared.updates = filepath.Join(shared.dir, "images"), filepath.Join(shared.dir, "updates")
	common := ut.Noise("common", 2_000_000)
	ut.WriteLayout(t, shared.images, map[string]ut.Image{
		"v1":  {Version: "1.0", Noise: 500_000, Files: map[string]string{"usr/common": common}},
		"v2":  {Version: "2.0", Noise: 3_000_000, Files: map[string]string{"usr/common": common}},
		"v3":  {Version: "3.0", Noise: 1_000_000, Files: map[string]string{"usr/common": common}},
		"v0":  {Version: "0.9"},
		"v15": {Version: "1.5"},
		// Its first layer is read twice: the upper one hides the name that
		// comes with the content.
		"twice": {Version: "2.0", Noise: 500_000, Files: map[string]string{"etc/a": "content", "etc/b": "=> etc/a"}, Upper: map[string]string{"etc/.wh.a": ""}},
	})
	for _, tag := range []string{"v1", "v2", "v3"} {
		_, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + shared.images + ":" + tag, Dir: shared.updates, Tag: tag})
		if err != nil {
			return err
		}
	}
	shared.disk, err = makeDisk(t, 8*disk.MiB)
	return err
}

// buildCommand returns the command in $ABUPDATE_BIN, or builds it.
func buildCommand(dir string) (path string, err error) {
	if bin := os.Getenv("ABUPDATE_BIN"); bin != "" {
		return filepath.Abs(filepath.Join(bin, "abupdate"))
	}
	path = filepath.Join(dir, "abupdate")
	// As the Makefile builds it, so that most of it is in Go's cache.
	build := osexec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", path, "../../cmd/abupdate")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the command: %w\n%s", err, out)
	}
	return path, nil
}

// A template is a disk that tests get copies of.
type template struct {
	size    int64
	content []extent
	slotA   []byte // what slot A holds
}

// makeDisk makes a disk with slots of a size, the first of which holds v1.
func makeDisk(t *testing.T, slot disk.Size) (made template, err error) {
	path := filepath.Join(t.TempDir(), "template.raw")
	dev, d, err := disk.CreateFile(path, 0, disk.Layout{ESP: disk.MinESP, Slot: slot, Var: disk.MinVar}, disk.Options{})
	if err != nil {
		return made, err
	}
	defer dev.Close()
	sec, err := d.State()
	if err != nil {
		return made, err
	}
	if err := bootctl.Format(sec, bootctl.New()); err != nil {
		return made, err
	}
	sys, err := updater.New(dev, nil)
	if err != nil {
		return made, err
	}
	if _, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + shared.updates + ":v1"}); err != nil {
		return made, err
	}
	ut.EditState(t, path, func(s bootctl.State) bootctl.State {
		return bootctl.New().Install(bootctl.SlotA, s.Slot(bootctl.SlotA).Info())
	})
	made.size = dev.Size()
	if made.content, err = readSparse(path); err != nil {
		return made, err
	}
	slotA, err := d.Slot(bootctl.SlotA)
	if err != nil {
		return made, err
	}
	made.slotA = make([]byte, slotA.Size())
	_, err = slotA.ReadAt(made.slotA, 0)
	return made, err
}

// An extent is a piece of a file that is not all zeros.
type extent struct {
	off  int64
	data []byte
}

func readSparse(path string) ([]extent, error) {
	const grain = 64 << 10
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	zero := string(make([]byte, grain))
	var found []extent
	for off := 0; off < len(b); off += grain {
		if p := b[off:min(off+grain, len(b))]; string(p) != zero[:len(p)] {
			found = append(found, extent{int64(off), append([]byte(nil), p...)})
		}
	}
	return found, nil
}

func (m template) write(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = f.Truncate(m.size)
	for _, e := range m.content {
		if _, werr := f.WriteAt(e.data, e.off); werr != nil {
			err = errors.Join(err, werr)
		}
	}
	return errors.Join(err, f.Close())
}

// digestIn returns the digest of what has a tag in a layout.
func digestIn(t *testing.T, layout, tag string) string {
	t.Helper()
	var index v1.IndexManifest
	readJSON(t, filepath.Join(layout, "index.json"), &index)
	for _, d := range index.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] == tag {
			return d.Digest.String()
		}
	}
	t.Fatalf("%s has no %s", layout, tag)
	return ""
}

// squashfsIn returns the squashfs of an update in a layout.
func squashfsIn(t *testing.T, layout, tag string) []byte {
	t.Helper()
	blob := func(digest string) string {
		return filepath.Join(layout, "blobs", strings.Replace(digest, ":", "/", 1))
	}
	var m v1.Manifest
	readJSON(t, blob(digestIn(t, layout, tag)), &m)
	for _, l := range m.Layers {
		if l.MediaType == manifest.SquashfsMediaType {
			b, err := os.ReadFile(blob(l.Digest.String()))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatalf("update %s has no squashfs", tag)
	return nil
}

func readJSON(t *testing.T, path string, v any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}
