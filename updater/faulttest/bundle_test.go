package faulttest_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	fs "github.com/abupdate/abupdate/internal/faultserver"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

// A bundleRow is what lies beside an update of which cosign 3 was to make a
// bundle, for a device that has the vendor's key.
type bundleRow struct {
	row
	make   func(t *testing.T, digest string) []byte
	faults []fs.Fault
	hide   bool // the registry has no list of referrers but the tag
	signed bool // there is a simple signature, too
}

const (
	bundleType    = "application/vnd.dev.sigstore.bundle.v0.3+json"
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
	certificate   = `{"certificate":{"rawBytes":"MIIB"},"tlogEntries":[{"logIndex":"1","integratedTime":"1750000000"}]}`
	publicKey     = `{"publicKey":{"hint":"x"},"tlogEntries":[]}`
)

// statement is what cosign signs about a digest.
func statement(digest, predicate string) string {
	return fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		strings.TrimPrefix(digest, "sha256:"), predicate)
}

// bundle is a sigstore bundle with a statement that the key in a file signed.
func bundle(t *testing.T, material, key, statement string) []byte {
	t.Helper()
	text, err := os.ReadFile(key + ".key")
	if err != nil {
		t.Fatal(err)
	}
	k, err := keys.Parse(key, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	const inToto = "application/vnd.in-toto+json"
	sig, err := k.SignMessage(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(inToto), inToto, len(statement), statement))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Appendf(nil, `{"mediaType":%q,"verificationMaterial":%s,"dsseEnvelope":{"payload":%q,"payloadType":%q,"signatures":[{"sig":%q}]}}`,
		bundleType, material, b64([]byte(statement)), inToto, b64(sig))
}

func vendorBundle(t *testing.T, digest string) []byte {
	return bundle(t, publicKey, signed.vendor, statement(digest, signPredicate))
}

// withoutMaterial says nothing of keys, certificates or logs.
func withoutMaterial(t *testing.T, digest string) []byte {
	return bytes.Replace(vendorBundle(t, digest), []byte(`"verificationMaterial":`+publicKey+","), nil, 1)
}

var bundleRows = []bundleRow{
	{row: row{"bundle", 0, nil}},
	{row: row{"bundle where the registry lists no referrers", 0, nil}, hide: true},
	{row: row{"bundle that names no key, certificate or log", 0, nil}, make: withoutMaterial},
	{row: row{"flipped byte in the bundle", 4, []string{"reading the signature bundles of", "its content has digest"}}, faults: []fs.Fault{fs.On(fs.Flip(300), fs.Signature)}},
	{row: row{"bundle without end", 4, []string{"reading the signature bundles of", "the server has"}}, faults: []fs.Fault{fs.On(fs.Resize(100_000_000), fs.Signature)}},
	{row: row{"bundle out of reach", 3, []string{"reading the signature bundles of", "503"}}, faults: []fs.Fault{fs.On(fs.Status(503), fs.Signature)}},
	{row: row{"flipped byte in the bundle's signature", 4, []string{"no valid signature by any of", "vendor.pub"}}, make: func(t *testing.T, digest string) []byte {
		b := vendorBundle(t, digest)
		b[bytes.Index(b, []byte(`"sig":"`))+20] ^= 1
		return b
	}},
	{row: row{"bundle by another key", 4, []string{"no valid signature by any of", "vendor.pub"}}, make: func(t *testing.T, digest string) []byte {
		return bundle(t, publicKey, signed.other, statement(digest, signPredicate))
	}},
	{row: row{"bundle by a certificate, as signing without a key makes", 4, []string{"no valid signature by any of", "vendor.pub"}}, make: func(t *testing.T, digest string) []byte {
		return bundle(t, certificate, signed.other, statement(digest, signPredicate))
	}},
	{row: row{"bundle with an entry of a log and no signature", 4, []string{"no valid signature", "signature bundle holds"}}, make: func(*testing.T, string) []byte {
		return []byte(`{"mediaType":"` + bundleType + `","verificationMaterial":` + certificate + `}`)
	}},
	{row: row{"bundle of another update", 4, []string{"no valid signature", "has signed"}}, make: func(t *testing.T, _ string) []byte {
		return vendorBundle(t, digestIn(t, shared.updates, "v3"))
	}},
	{row: row{"bundle that says something else of the update", 4, []string{"no valid signature", "spdx.dev"}}, make: func(t *testing.T, digest string) []byte {
		return bundle(t, publicKey, signed.vendor, statement(digest, "https://spdx.dev/Document"))
	}},
	{row: row{"bundle of 256 KiB and more", 4, []string{"unsigned: no valid signature"}}, make: func(t *testing.T, digest string) []byte {
		return append(vendorBundle(t, digest), bytes.Repeat([]byte{' '}, 256<<10)...)
	}},
	{row: row{"bundle that is broken beside a signature that is good", 0, nil}, signed: true, faults: []fs.Fault{fs.On(fs.FlipAfter(bundleType), fs.Signature)}},
}

// TestBundles applies an update with a signature in cosign 3's form.
func TestBundles(t *testing.T) {
	signUpdates(t)
	for _, tt := range bundleRows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := shared.updates
			if tt.signed {
				dir = signed.dir
			}
			copied := t.TempDir()
			if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			if tt.make == nil {
				tt.make = vendorBundle
			}
			addBundle(t, copied, digestIn(t, dir, "v2"), tt.make(t, digestIn(t, dir, "v2")))
			d := newDevice(t, copied)
			d.Set(tt.faults...)
			if tt.hide {
				d.HideReferrers()
			}
			got := d.apply(t, "--trust", signed.vendor+".pub", d.ref("v2"))
			t.Logf("exit code %d: %s", got.code, got.message())
			if tt.code == 0 {
				d.checkApplied(t, got, "2.0")
				return
			}
			d.checkFailed(t, got, tt.code, tt.says...)
			if n := d.Total(fs.Tree, fs.Data).Requests; n > 0 {
				t.Errorf("%d requests for tree and data before the signature was found wrong", n)
			}
			d.checkFinishes(t, "2.0", "--trust", signed.vendor+".pub", fs.New(signed.dir).Start(t)+"/os:v2")
		})
	}
}

// addBundle hangs a bundle on the manifest with a digest, as cosign does.
func addBundle(t *testing.T, layout, digest string, b []byte) {
	t.Helper()
	add := func(mediaType types.MediaType, b []byte) v1.Descriptor {
		h := v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b))}
		if err := os.WriteFile(filepath.Join(layout, "blobs", h.Algorithm, h.Hex), b, 0o644); err != nil {
			t.Fatal(err)
		}
		return v1.Descriptor{MediaType: mediaType, Digest: h, Size: int64(len(b))}
	}
	subject, err := v1.NewHash(digest)
	if err != nil {
		t.Fatal(err)
	}
	var index v1.IndexManifest
	readJSON(t, filepath.Join(layout, "index.json"), &index)
	manifest := encode(t, v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: bundleType,
		Config: add("application/vnd.oci.empty.v1+json", []byte("{}")), Layers: []v1.Descriptor{add(bundleType, b)},
		Subject: &v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: subject, Size: 1},
	})
	index.Manifests = append(index.Manifests, add(types.OCIManifestSchema1, manifest))
	if err := os.WriteFile(filepath.Join(layout, "index.json"), encode(t, index), 0o644); err != nil {
		t.Fatal(err)
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
