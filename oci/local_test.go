package oci_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// resolve parses and resolves.
func resolve(t testing.TB, ref string, opt oci.Options) (*oci.Image, error) {
	t.Helper()
	r, err := oci.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	img, err := oci.Resolve(context.Background(), r, opt)
	if err == nil {
		t.Cleanup(func() {
			if err := img.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	return img, err
}

func mustRead(t *testing.T, ref string, opt oci.Options) []string {
	t.Helper()
	img, err := resolve(t, ref, opt)
	if err != nil {
		t.Fatal(err)
	}
	all, _, err := read(t, img)
	if err != nil {
		t.Fatal(err)
	}
	return lines(all)
}

// two layers, and what they flatten to
func twoLayers(t testing.TB) [][]byte {
	return tarsOf(t, [][]item{{file("a", "old"), file("b", "bee")}, {wh(".wh.b"), file("a", "new")}})
}

var twoLayersWant = []string{"f a new"}

func TestMediaTypes(t *testing.T) {
	for _, tt := range []struct {
		name string
		mt   types.MediaType
		pack func(testing.TB, []byte) []byte
	}{
		{"OCI plain", types.OCIUncompressedLayer, plain},
		{"OCI gzip", types.OCILayer, gzipped},
		{"OCI zstd", types.OCILayerZStd, zstded},
		{"docker gzip", types.DockerLayer, gzipped},
		{"docker plain", types.DockerUncompressedLayer, plain},
		{"docker zstd", "application/vnd.docker.image.rootfs.diff.tar.zstd", zstded},
		{"foreign", types.DockerForeignLayer, gzipped},
		{"plain under a gzip type", types.OCILayer, plain},
		{"gzip of two members", types.OCILayer, func(t testing.TB, b []byte) []byte {
			return append(gzipped(t, b[:700]), gzipped(t, b[700:])...)
		}},
		{"gzip with padding behind it", types.OCILayer, func(t testing.TB, b []byte) []byte {
			return append(gzipped(t, b), make([]byte, 512)...)
		}},
		{"zstd behind a skippable frame", types.OCILayerZStd, func(t testing.TB, b []byte) []byte {
			return append([]byte("\x50\x2a\x4d\x18\x03\x00\x00\x00abc"), zstded(t, b)...)
		}},
		{"padding behind the tar's end", types.OCILayer, func(t testing.TB, b []byte) []byte { return gzipped(t, b) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tars := twoLayers(t)
			if strings.HasPrefix(tt.name, "padding") {
				tars[1] = append(tars[1], make([]byte, 1<<20)...)
			}
			l := newLayout(t)
			ref := "oci:" + l.index(l.image("amd64", tt.mt, tt.pack, tars...))
			if diff := cmp.Diff(twoLayersWant, mustRead(t, ref, oci.Options{})); diff != "" {
				t.Errorf("flattened (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLayoutChoice(t *testing.T) {
	l := newLayout(t)
	img := func(arch, body string) v1.Descriptor {
		return l.image(arch, types.OCILayer, gzipped, tarOf(t, file("a", body)))
	}
	own, other := runtime.GOARCH, "s390x"
	index := func(descs ...v1.Descriptor) v1.Descriptor {
		return l.json(types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: descs})
	}
	attestation := onPlatform(img("unknown", "attestation"), "unknown")
	attestation.Platform.OS = "unknown"
	multi := index(attestation, onPlatform(img(other, "other"), other), onPlatform(img(own, "own"), own))
	docker := multi
	docker.MediaType = types.DockerManifestList
	pinned := img("riscv64", "pinned")
	l.index(
		tagged(img(own, "v1"), "v1"), tagged(multi, "multi"), tagged(index(multi), "nested"), tagged(docker, "docker"),
		tagged(index(onPlatform(img(other, "other"), other)), "foreign"), tagged(index(pinned), "bare"), tagged(index(), "none"),
	)
	for _, tt := range []struct {
		name, suffix, platform, want, wantErr string
		kind                                  fault.Kind
	}{
		{"by tag", ":v1", "", "v1", "", 0},
		{"by position", ":@0", "", "v1", "", 0},
		{"this machine's platform", ":multi", "", "own", "", 0},
		{"another platform", ":multi", "linux/" + other, "other", "", 0},
		{"index inside an index", ":nested", "", "own", "", 0},
		{"docker's manifest list", ":docker", "", "own", "", 0},
		{"one that names no platform", ":bare", "", "pinned", "", 0},
		{"by digest inside an index", "@" + pinned.Digest.String(), "", "pinned", "", 0},
		{"by digest of an index", "@" + multi.Digest.String(), "linux/" + other, "other", "", 0},
		{"platform that is missing", ":multi", "linux/riscv64", "", "no image for platform linux/riscv64; it has linux/" + other, fault.Refused},
		{"index of another platform only", ":foreign", "", "", "it has linux/" + other, fault.Refused},
		{"image of another platform", ":v1", "linux/" + other, "", "want linux/" + other, fault.Refused},
		{"empty index", ":none", "", "", "it holds none", fault.Refused},
		{"no such tag", ":v9", "", "", "no such image; tags are bare, docker, foreign, multi, nested, none, v1", fault.Usage},
		{"no such position", ":@7", "", "", "there are 7 images", fault.Usage},
		{"no such digest", "@" + digestA, "", "", "no image with this digest", fault.Usage},
		{"too many", "", "", "", "names 7 images", fault.Usage},
		{"bad platform", ":multi", "linux", "", `platform "linux"`, fault.Usage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ref, opt := "oci:"+l.dir+tt.suffix, oci.Options{Platform: tt.platform}
			if tt.wantErr == "" {
				if diff := cmp.Diff([]string{"f a " + tt.want}, mustRead(t, ref, opt)); diff != "" {
					t.Errorf("image (-want +got):\n%s", diff)
				}
				return
			}
			_, err := resolve(t, ref, opt)
			wantError(t, err, tt.wantErr, tt.kind)
			wantError(t, err, "", tt.kind)
		})
	}
}

func wantError(t *testing.T, err error, text string, kind fault.Kind) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v; want one with %q", err, text)
	}
	if got := fault.KindOf(err); got != kind {
		t.Errorf("kind %d of error %v; want %d", got, err, kind)
	}
}

func TestLocalErrors(t *testing.T) {
	empty := t.TempDir()
	name := filepath.Join(empty, "file")
	if err := os.WriteFile(name, []byte("not a tar, but longer than nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	emptyTar := filepath.Join(empty, "empty.tar")
	if err := os.WriteFile(emptyTar, tarOf(t), 0o644); err != nil {
		t.Fatal(err)
	}
	notImage := newLayout(t)
	cfg := notImage.blob("application/vnd.example+json", []byte("{}"))
	notImage.index(notImage.json(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, Config: cfg}))
	schema1 := newLayout(t)
	schema1.index(schema1.json(types.DockerManifestSchema1, map[string]any{"schemaVersion": 1, "fsLayers": []string{}}))
	both := newLayout(t)
	both.index(both.json(types.OCIImageIndex, map[string]any{"manifests": []string{}, "layers": []string{}}))
	noBlob := newLayout(t)
	noBlob.index(v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 3, Digest: v1.Hash{Algorithm: "sha256", Hex: digestA[7:]}})
	badIndex := newLayout(t)
	badIndex.write("index.json", []byte("{"))
	for _, tt := range []struct {
		ref, want string
		kind      fault.Kind
	}{
		{"oci:" + empty + "/no", "no such directory", fault.Usage},
		{"oci:" + name, "is not a directory; a tar of a layout is written oci-archive:", fault.Usage},
		{"oci:" + empty, "holds no index.json", fault.Usage},
		{"oci:" + notImage.dir, "is not an image", fault.Usage},
		{"oci:" + schema1.dir, "schema 1", fault.Verify},
		{"oci:" + both.dir, "both an index and an image manifest", fault.Verify},
		{"oci:" + noBlob.dir, "is missing in the layout", fault.Verify},
		{"oci:" + badIndex.dir, "index.json", fault.Verify},
		{"oci-archive:" + empty + "/no", "no such file", fault.Usage},
		{"oci-archive:" + empty, "is a directory; a layout in one is written oci:", fault.Usage},
		{"oci-archive:" + name, "reading as tar", fault.Verify},
		{"oci-archive:" + emptyTar, "holds no index.json", fault.Usage},
		{"docker-archive:" + emptyTar, "holds no manifest.json", fault.Usage},
	} {
		_, err := resolve(t, tt.ref, oci.Options{})
		wantError(t, err, tt.want, tt.kind)
		wantError(t, err, tt.ref, tt.kind)
	}
}

// archive packs a directory into a tar, changed by pack.
func archive(t *testing.T, dir string, pack func(testing.TB, []byte) []byte) string {
	t.Helper()
	var items []item
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		items = append(items, file("./"+rel, string(b)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(name, pack(t, tarOf(t, items...)), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOCIArchive(t *testing.T) {
	l := newLayout(t)
	l.index(tagged(l.image("amd64", types.OCILayer, gzipped, twoLayers(t)...), "v1"))
	for name, pack := range map[string]func(testing.TB, []byte) []byte{"plain": plain, "gzip": gzipped, "zstd": zstded} {
		t.Run(name, func(t *testing.T) {
			spool := t.TempDir()
			ref := "oci-archive:" + archive(t, l.dir, pack) + ":v1"
			img, err := resolve(t, ref, oci.Options{SpoolDir: spool})
			if err != nil {
				t.Fatal(err)
			}
			if left := readDir(t, spool); len(left) > 0 {
				t.Errorf("spooled files have names: %v", left)
			}
			all, _, err := read(t, img)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(twoLayersWant, lines(all)); diff != "" {
				t.Errorf("flattened (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("truncated", func(t *testing.T) {
		b, err := os.ReadFile(archive(t, l.dir, plain))
		if err != nil {
			t.Fatal(err)
		}
		cut := filepath.Join(t.TempDir(), "cut.tar")
		for _, n := range []int{len(b) / 2, len(b)/2 + 100, 700} {
			if err := os.WriteFile(cut, b[:n], 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := resolve(t, "oci-archive:"+cut, oci.Options{})
			if err == nil {
				t.Errorf("archive cut at byte %d resolves", n)
			}
		}
	})
}

func readDir(t *testing.T, dir string) []fs.DirEntry {
	t.Helper()
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return es
}

func TestDockerArchive(t *testing.T) {
	l := newLayout(t)
	d := l.image("amd64", types.OCILayer, gzipped, twoLayers(t)...)
	path, err := layout.FromPath(l.index(d))
	if err != nil {
		t.Fatal(err)
	}
	img, err := path.Image(d.Digest)
	if err != nil {
		t.Fatal(err)
	}
	refs := map[name.Reference]v1.Image{name.MustParseReference("demo:v1"): img}
	compressed := filepath.Join(t.TempDir(), "crane.tar")
	if err := tarball.MultiRefWriteToFile(compressed, refs); err != nil {
		t.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	tars := twoLayers(t)
	// As docker save wrote it for years: plain layers, equal ones as symlinks.
	saved := filepath.Join(t.TempDir(), "saved.tar")
	b := tarOf(t, file("x/layer.tar", string(tars[0])), sym("y/layer.tar", "../x/layer.tar"), file("z.tar", string(tars[1])), file("c.json", string(config)),
		file("manifest.json", `[{"Config":"c.json","RepoTags":["demo:v1","docker.io/library/demo:latest"],"Layers":["y/layer.tar","z.tar"]},{"Config":"no","RepoTags":["other:v2"]}]`))
	if err := os.WriteFile(saved, b, 0o644); err != nil {
		t.Fatal(err)
	}
	var digests []string
	for _, ref := range []string{compressed, compressed + ":demo:v1", saved + ":demo:v1", saved + ":demo", saved + ":@0"} {
		if diff := cmp.Diff(twoLayersWant, mustRead(t, "docker-archive:"+ref, oci.Options{})); diff != "" {
			t.Errorf("%s: flattened (-want +got):\n%s", ref, diff)
		}
		img, err := resolve(t, "docker-archive:"+ref, oci.Options{})
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, img.Digest())
	}
	if digests[0] != digests[1] || digests[2] != digests[3] {
		t.Errorf("digests of one image differ: %v", digests)
	}
	_, err = resolve(t, "docker-archive:"+saved, oci.Options{})
	wantError(t, err, "names 2 images; tags are demo:v1, docker.io/library/demo:latest, other:v2", fault.Usage)
	_, err = resolve(t, "docker-archive:"+saved+":nope", oci.Options{})
	wantError(t, err, "no such image", fault.Usage)
	flipped := bytes.Replace(b, []byte("new"), []byte("old"), 1)
	if err := os.WriteFile(saved, flipped, 0o644); err != nil {
		t.Fatal(err)
	}
	bad, err := resolve(t, "docker-archive:"+saved+":@0", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = read(t, bad)
	wantError(t, err, "its content has digest", fault.Verify)
}
