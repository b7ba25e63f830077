package interop_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater/trust"
)

// A fixture is a signature that cosign made, with its key.
type fixture struct {
	MadeBy    string          `json:"made_by"`
	Digest    string          `json:"digest"`
	Public    string          `json:"public"`
	Private   string          `json:"private"`
	Signature trust.Signature `json:"signature"`
}

// TestFixtures makes updater/trust/testdata/cosign.json anew when
// ABUPDATE_FIXTURES is set. Keys differ each time; nothing else depends on them.
func TestFixtures(t *testing.T) {
	var all []fixture
	for _, tt := range []struct{ name, version, form string }{
		{"cosign v2.6.5 sign", "v2", "simple"},
		{"cosign v2.6.5 sign --new-bundle-format", "v2", "bundle"},
		{"cosign v3.1.3 sign", "v3", "bundle"},
	} {
		ref, digest := serve(t, false)
		c := newCosign(t, tt.version)
		prefix := c.generate()
		c.sign(tt.form, prefix+".key", pinned(ref, digest))
		f := fixture{MadeBy: tt.name, Digest: digest}
		for suffix, p := range map[string]*string{".pub": &f.Public, ".key": &f.Private} {
			text, err := os.ReadFile(prefix + suffix)
			if err != nil {
				t.Fatal(err)
			}
			*p = string(text)
		}
		f.Signature = onlySignature(t, ref)
		all = append(all, f)
	}
	name := filepath.Join("..", "..", "updater", "trust", "testdata", "cosign.json")
	if os.Getenv("ABUPDATE_FIXTURES") == "" {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("%v: make interop ABUPDATE_FIXTURES=1 makes it", err)
		}
		return
	}
	b, err := json.MarshalIndent(all, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(b, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func onlySignature(t *testing.T, name string) trust.Signature {
	t.Helper()
	ref, err := oci.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	img, err := oci.Resolve(t.Context(), ref, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	all, err := img.Signatures(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("Signatures() = %d, %v; want 1", len(all), err)
	}
	return trust.Signature(all[0])
}
