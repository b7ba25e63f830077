package updater_test

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// baseFiles are those of a base with something of everything.
func baseFiles() map[string]string {
	files := map[string]string{
		"usr/lib/big": ut.Noise("big", 700_000), "usr/lib/big2": "=> usr/lib/big", "usr/lib/text": strings.Repeat("a line of text\n", 50_000),
		"etc/motd": "base", "etc/alternatives": "-> motd", "usr/lib/abupdate/config.d/a.toml": "etc = 'ephemeral'\n",
		"var/lib/dpkg/status": "Package: base\n",
	}
	for i := range 300 {
		files[fmt.Sprintf("usr/share/doc/p%d/copyright", i)] = ut.Noise(fmt.Sprint(i), i*5)
	}
	return files
}

// upgrades are images with layers in common.
func upgrades() map[string]ut.Image {
	base := baseFiles()
	upgrade := map[string]string{
		"usr/lib/new": ut.Noise("new", 90_000), "etc/motd": "upgraded", "var/lib/dpkg/status": "Package: base\nPackage: new\n",
		"usr/share/doc/.wh.p7": "", "usr/share/doc/p8/.wh..wh..opq": "", "usr/lib/text2": "=> usr/lib/text",
	}
	again := maps.Clone(upgrade)
	again["usr/lib/new"] = ut.Noise("newer", 95_000)
	other := map[string]string{"usr/lib/new": "small", "usr/share/doc/p100/copyright": "changed"}
	return map[string]ut.Image{
		"base": {Version: "1.0", Files: base}, "upgrade": {Version: "2.0", Files: base, Upper: upgrade},
		"again": {Version: "3.0", Files: base, Upper: again}, "other": {Version: "1.5", Files: base, Upper: other},
	}
}

// A shop is a registry that counts.
type shop struct {
	*counter
	dir, host string
	images    map[string]*oci.Image
}

func newShop(t *testing.T) *shop {
	t.Helper()
	images := upgrades()
	s := &shop{dir: ut.Layout(t, images), counter: &counter{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}, images: map[string]*oci.Image{}}
	server := httptest.NewServer(s.counter)
	t.Cleanup(server.Close)
	s.host = strings.TrimPrefix(server.URL, "http://")
	for tag := range images {
		local, remote := reference(t, s.local(tag)), reference(t, s.ref(tag))
		if _, err := oci.Push(t.Context(), local, remote, oci.Options{}); err != nil {
			t.Fatal(err)
		}
		img, err := oci.Resolve(t.Context(), remote, oci.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { img.Close() })
		s.images[tag] = img
	}
	return s
}

func (s *shop) local(tag string) string { return "oci:" + s.dir + ":" + tag }
func (s *shop) ref(tag string) string   { return s.host + "/os:" + tag }

// layer is the size of a layer, the lowest being 0.
func (s *shop) layer(tag string, i int) int64 { return s.images[tag].Layers()[i].Size }

func reference(t *testing.T, name string) oci.Reference {
	t.Helper()
	ref, err := oci.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// rootHash is that of an image when all of it is fetched.
func (s *shop) rootHash(t *testing.T, tag string) string {
	t.Helper()
	built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: s.local(tag), Raw: filepath.Join(t.TempDir(), "raw")})
	if err != nil {
		t.Fatal(err)
	}
	return built.RootHash
}

// apply applies an image and says how many bytes of blobs were sent.
func (s *shop) apply(t *testing.T, disk, tag string, opt updater.ApplyOptions) (*updater.Applied, int64) {
	t.Helper()
	sys := open(t, disk)
	defer sys.Close()
	s.sent.Store(0)
	opt.Ref = s.ref(tag)
	got, err := sys.Apply(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return got, s.sent.Load()
}

// confirm starts what was staged, and says that it is good.
func confirm(t *testing.T, disk string, slot bootctl.Slot) {
	t.Helper()
	ut.EditState(t, disk, func(s bootctl.State) bootctl.State {
		_, s = s.Next()
		s, err := s.Confirm(slot)
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func copyFile(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "disk.raw")
	if out, err := exec.Command("cp", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copying the disk: %v: %s", err, out)
	}
	return to
}

func slotContent(t *testing.T, disk string) (content *partitions.SlotContent) {
	t.Helper()
	onSlot(t, disk, func(sec *blockdev.Section) {
		var err error
		if content, err = partitions.ReadSlot(sec); err != nil {
			t.Fatal(err)
		}
	})
	return content
}

// onSlot opens slot A of a disk.
func onSlot(t *testing.T, path string, do func(sec *blockdev.Section)) {
	t.Helper()
	do(ut.Slot(t, ut.OpenDisk(t, path), bootctl.SlotA))
}
