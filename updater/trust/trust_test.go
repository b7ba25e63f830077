package trust_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

func newKey(t *testing.T, a keys.Algorithm) *keys.Private {
	t.Helper()
	k, err := keys.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, k *keys.Private, message []byte) []byte {
	t.Helper()
	sig, err := k.SignMessage(message)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// signed returns an update manifest and the envelope that leads to it.
func signed(t *testing.T, k *keys.Private) ([]byte, *trust.Envelope) {
	t.Helper()
	update := []byte(`{"version":"1"}`)
	return update, envelope(t, k, manifest.ConfigMediaType, update)
}

// envelope signs an OCI manifest with a config of some type.
func envelope(t *testing.T, k *keys.Private, mediaType string, config []byte) *trust.Envelope {
	t.Helper()
	oci := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`, mediaType, digestOf(config), len(config))
	sig, err := k.Sign(digestOf(oci), "registry.example/os:1")
	if err != nil {
		t.Fatal(err)
	}
	return &trust.Envelope{OCIManifest: oci, Signatures: []trust.Signature{sig}}
}

func TestVerifyManifest(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.P256, keys.Ed25519} {
		k, other := newKey(t, a), newKey(t, keys.P256)
		both := trust.Set{other.Public(), k.Public()}
		for _, tt := range []struct {
			name   string
			set    trust.Set
			change func(m *[]byte, e *trust.Envelope)
			want   string // part of the error; "" for none
		}{
			{"right", trust.Set{k.Public()}, nil, ""},
			{"one of two keys", both, nil, ""},
			{"no key", nil, nil, "no key is trusted"},
			{"another key", trust.Set{other.Public()}, nil, "by any of"},
			{"the zero key", trust.Set{{}}, nil, "by any of"},
			{"unsigned", both, func(_ *[]byte, e *trust.Envelope) { e.Signatures = nil }, "unsigned"},
			{"signature changed", both, func(_ *[]byte, e *trust.Envelope) { e.Signatures[0].Signature[9] ^= 1 }, "by any of"},
			{"signature cut", both, func(_ *[]byte, e *trust.Envelope) {
				e.Signatures[0].Signature = e.Signatures[0].Signature[:20]
			}, "by any of"},
			{"payload changed", both, func(_ *[]byte, e *trust.Envelope) { e.Signatures[0].Payload[30] ^= 1 }, "by any of"},
			{"OCI manifest changed", both, func(_ *[]byte, e *trust.Envelope) { e.OCIManifest[3] ^= 1 }, "has signed"},
			{"update manifest changed", both, func(m *[]byte, _ *trust.Envelope) { *m = append(*m, '\n') }, "the update manifest is"},
			{"config of another type", both, func(m *[]byte, e *trust.Envelope) {
				*e = *envelope(t, k, "application/vnd.cncf.helm.config.v1+json", *m)
			}, "a config of type"},
			{"config without a type", both, func(m *[]byte, e *trust.Envelope) { *e = *envelope(t, k, "", *m) }, "a config of type"},
			{"a bad signature before a good one", both, func(_ *[]byte, e *trust.Envelope) {
				e.Signatures = append([]trust.Signature{{Payload: []byte("{}"), Signature: []byte("x")}, {Bundle: []byte("{")}}, e.Signatures...)
			}, ""},
		} {
			t.Run(string(a)+"/"+tt.name, func(t *testing.T) {
				m, e := signed(t, k)
				if tt.change != nil {
					tt.change(&m, e)
				}
				got, err := tt.set.VerifyManifest(e, m)
				if tt.want == "" {
					if err != nil || got.ID != k.Public().ID {
						t.Errorf("VerifyManifest() = %v, %v; want %v", got, err, k.Public())
					}
					return
				}
				if !errors.Is(err, trust.ErrUntrusted) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("VerifyManifest() = %v; want %v with %q", err, trust.ErrUntrusted, tt.want)
				}
			})
		}
	}
}

// A signature by the right key over something else that names the digest.
func TestPayloadOfAnotherType(t *testing.T) {
	k := newKey(t, keys.P256)
	digest := digestOf([]byte("x"))
	for name, payload := range map[string]string{
		"no type":      `{"critical":{"image":{"docker-manifest-digest":"` + digest + `"}}}`,
		"another type": `{"critical":{"image":{"docker-manifest-digest":"` + digest + `"},"type":"attestation"}}`,
		"two digests":  `{"critical":{"image":{"docker-manifest-digest":"` + digest + `"},"type":"cosign container image signature"}}{}`,
		"no JSON":      digest,
	} {
		sig := trust.Signature{Payload: []byte(payload), Signature: sign(t, k, []byte(payload))}
		if _, err := (trust.Set{k.Public()}).VerifyDigest(digest, []trust.Signature{sig}); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%s: VerifyDigest() = %v; want %v", name, err, trust.ErrUntrusted)
		}
	}
}

// dsse makes a bundle as cosign 3 does.
func dsse(t *testing.T, k *keys.Private, payloadType, statement string) []byte {
	t.Helper()
	message := fmt.Sprintf("DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(statement), statement)
	b, err := json.Marshal(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
		"dsseEnvelope": map[string]any{
			"payload": base64.StdEncoding.EncodeToString([]byte(statement)), "payloadType": payloadType,
			"signatures": []any{map[string]any{"sig": base64.StdEncoding.EncodeToString(sign(t, k, []byte(message)))}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBundle(t *testing.T) {
	const inToto, predicate = "application/vnd.in-toto+json", "https://sigstore.dev/cosign/sign/v1"
	k, other := newKey(t, keys.P256), newKey(t, keys.P256)
	digest := digestOf([]byte("manifest"))
	statement := func(digest, predicate string) string {
		return `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + digest[7:] + `"}}],"predicateType":"` + predicate + `","predicate":{}}`
	}
	good := dsse(t, k, inToto, statement(digest, predicate))
	for _, tt := range []struct {
		name   string
		bundle []byte
		want   string
	}{
		{"right", good, ""},
		{"another key", dsse(t, other, inToto, statement(digest, predicate)), "by any of"},
		{"another digest", dsse(t, k, inToto, statement(digestOf([]byte("other")), predicate)), "has signed"},
		{"an attestation", dsse(t, k, inToto, statement(digest, "https://spdx.dev/Document")), "spdx.dev"},
		{"another payload type", dsse(t, k, "text/plain", statement(digest, predicate)), "text/plain"},
		{"another statement type", dsse(t, k, inToto, strings.Replace(statement(digest, predicate), "Statement/v1", "Statement/v9", 1)), "v9"},
		{"payload changed", bytes.Replace(good, []byte(`"payload":"ey`), []byte(`"payload":"fy`), 1), "by any of"},
		{"no signature", []byte(`{"dsseEnvelope":{"payload":"","payloadType":"` + inToto + `","signatures":[]}}`), "by any of"},
		{"no JSON", []byte("bundle"), "bundle"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := (trust.Set{k.Public()}).VerifyDigest(digest, []trust.Signature{{Bundle: tt.bundle}})
			if tt.want == "" && err != nil || tt.want != "" && (!errors.Is(err, trust.ErrUntrusted) || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("VerifyDigest() = %v; want an error with %q", err, tt.want)
			}
		})
	}
}

func TestEnvelope(t *testing.T) {
	_, e := signed(t, newKey(t, keys.P256))
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := trust.DecodeEnvelope(b)
	if err != nil || !bytes.Equal(got.OCIManifest, e.OCIManifest) || !bytes.Equal(got.Signatures[0].Payload, e.Signatures[0].Payload) {
		t.Errorf("DecodeEnvelope(Encode()) = %+v, %v; want %+v", got, err, e)
	}
	for name, b := range map[string][]byte{"empty": nil, "no JSON": []byte("x"), "two": []byte("{}{}"), "too large": bytes.Repeat([]byte(" "), trust.MaxEnvelope+1)} {
		if _, err := trust.DecodeEnvelope(b); err == nil {
			t.Errorf("DecodeEnvelope of %s = nil; want an error", name)
		}
	}
	e.OCIManifest = make([]byte, trust.MaxEnvelope)
	if _, err := e.Encode(); err == nil {
		t.Error("Encode() of too much = nil; want an error")
	}
}

func TestSet(t *testing.T) {
	a, b := newKey(t, keys.P256).Public(), newKey(t, keys.Ed25519).Public()
	var s trust.Set
	s.Add(a, b, a)
	if len(s) != 2 {
		t.Errorf("a set of two keys has %d", len(s))
	}
}

func TestParsePEM(t *testing.T) {
	one, err := newKey(t, keys.P256).PublicPEM()
	if err != nil {
		t.Fatal(err)
	}
	two, err := newKey(t, keys.Ed25519).PublicPEM()
	if err != nil {
		t.Fatal(err)
	}
	private, err := newKey(t, keys.P256).PEM(nil)
	if err != nil {
		t.Fatal(err)
	}
	const (
		p384 = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEdsCfLChhQW1KM1U+cA6LgNqzPVnS04b3\n5kmhaSlEKXAGBGl1PPVfa4RCWh1rl9u43TqKCmwJB6UO0h8xf7rG4ZZYdkYLnRfC\n9XsUjjK0qE5vSEIJhhXxCI2ro4Lz7jnI\n-----END PUBLIC KEY-----\n"
		cut  = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
	)
	for _, tt := range []struct {
		name string
		text string
		want int
		err  string
	}{
		{"one", string(one), 1, ""},
		{"two and a comment", "# keys\n" + string(one) + string(two), 2, ""},
		{"none", "# nothing\n", 0, "holds no"},
		{"private", string(private), 0, `"PRIVATE KEY"`},
		{"P-384", p384, 0, "only P-256"},
		{"cut", cut, 0, "reading public key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := trust.ParsePEM("k.pub", []byte(tt.text))
			if len(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("ParsePEM() = %v, %v; want %d keys, error with %q", got, err, tt.want, tt.err)
			}
			if err != nil && !strings.Contains(err.Error(), "k.pub") {
				t.Errorf("the error %q does not name the file", err)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	k, err := keys.Generate(keys.P256)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"oci_manifest":"e30=","signatures":[{"payload":"e30=","signature":"AA=="},{"bundle":"e30="}]}`), []byte("{}"))
	f.Fuzz(func(t *testing.T, envelope, manifest []byte) {
		e, err := trust.DecodeEnvelope(envelope)
		if err != nil {
			return
		}
		if _, err := (trust.Set{k.Public()}).VerifyManifest(e, manifest); err == nil {
			t.Errorf("VerifyManifest(%q, %q) = nil: nobody has signed that", envelope, manifest)
		}
	})
}

func FuzzParseDER(f *testing.F) {
	for _, a := range []keys.Algorithm{keys.P256, keys.Ed25519} {
		k, err := keys.Generate(a)
		if err != nil {
			f.Fatal(err)
		}
		text, err := k.PublicPEM()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := trust.ParsePEM("x", text); err == nil && len(got) == 0 {
			t.Error("ParsePEM() = no key and no error")
		}
	})
}
