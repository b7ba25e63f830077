package manifest_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/google/go-cmp/cmp"
)

func valid() manifest.Manifest {
	return manifest.Manifest{
		Format: 1, Version: "1.2", Architecture: "amd64", Kernel: "6.1.0-1-cloud-amd64",
		RootHash: strings.Repeat("ab", 32), Salt: strings.Repeat("01", 32),
		DataBlocks: 1000, ImageBytes: 4096000, HashOffset: 4096000, TreeBytes: 10 * 4096,
		Encoder: "test", Kargs: `quiet key="a b"`, SourceDigest: "sha256:" + strings.Repeat("cd", 32), Layers: strings.Repeat("ef", 32),
	}
}

func TestEncodeDecode(t *testing.T) {
	want := valid()
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("Decode(Encode()) mismatch (-want +got):\n%s", diff)
	}
	again, err := got.Encode()
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("Encode of the decoded manifest = %q, %v; want the same bytes", again, err)
	}
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*manifest.Manifest)
		want   string
	}{
		{"later format", func(m *manifest.Manifest) { m.Format = 2 }, "format 2"},
		{"no version", func(m *manifest.Manifest) { m.Version = "" }, "no version"},
		{"version that clears the screen", func(m *manifest.Manifest) { m.Version = "1\x1b[2J" }, "control characters"},
		{"kernel of two lines", func(m *manifest.Manifest) { m.Kernel = "6.1\nx" }, "control characters"},
		{"no architecture", func(m *manifest.Manifest) { m.Architecture = "" }, "no architecture"},
		{"no data", func(m *manifest.Manifest) { m.DataBlocks = 0 }, "data_blocks"},
		{"absurd data", func(m *manifest.Manifest) { m.DataBlocks = 1 << 60 }, "data_blocks"},
		{"image is not its blocks", func(m *manifest.Manifest) { m.ImageBytes++ }, "image_bytes"},
		{"tree before the image's end", func(m *manifest.Manifest) { m.HashOffset = 0 }, "hash_offset"},
		{"tree larger than can be", func(m *manifest.Manifest) { m.TreeBytes = m.ImageBytes }, "tree_bytes"},
		{"tree of half a block", func(m *manifest.Manifest) { m.TreeBytes = 2048 }, "tree_bytes"},
		{"short root hash", func(m *manifest.Manifest) { m.RootHash = "ab" }, "root_hash"},
		{"short hash of the layers", func(m *manifest.Manifest) { m.Layers = "ab" }, "layers_sha256"},
		{"kargs of two lines", func(m *manifest.Manifest) { m.Kargs = "a\nb" }, "kargs"},
		{"endless kargs", func(m *manifest.Manifest) { m.Kargs = strings.Repeat("k", 1025) }, "kargs"},
		{"etc of a later version", func(m *manifest.Manifest) { m.Etc = "merge" }, "etc is"},
		{"persist is no path", func(m *manifest.Manifest) { m.Persist = []string{"srv"} }, "plain path"},
		{"persist climbs", func(m *manifest.Manifest) { m.Persist = []string{"/srv/../usr"} }, "plain path"},
		{"persist in /usr", func(m *manifest.Manifest) { m.Persist = []string{"/srv", "/usr/share"} }, "/usr"},
		{"persist without end", func(m *manifest.Manifest) { m.Persist = make([]string, 65) }, "65 folders"},
		{"salt is not hex", func(m *manifest.Manifest) { m.Salt = "xyz" }, "salt"},
	} {
		m := valid()
		tt.change(&m)
		err := m.Validate()
		if !errors.Is(err, manifest.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Validate() = %v; want ErrInvalid with %q", tt.name, err, tt.want)
		}
		if _, err := m.Encode(); err == nil {
			t.Errorf("%s: Encode() succeeded", tt.name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	m := valid()
	b, err := m.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Add(append(b, '{'))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := manifest.Decode(b)
		if err != nil {
			if !errors.Is(err, manifest.ErrInvalid) {
				t.Errorf("Decode error %v does not wrap ErrInvalid", err)
			}
			return
		}
		again, err := m.Encode()
		if err != nil {
			t.Fatalf("a decoded manifest does not encode: %v", err)
		}
		if m2, err := manifest.Decode(again); err != nil || !cmp.Equal(m, m2) {
			t.Errorf("round trip = %+v, %v; want %+v", m2, err, m)
		}
	})
}
