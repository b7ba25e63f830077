package trust_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

// fixtures are signatures that cosign made: see internal/interop.
func fixtures(t *testing.T) (all []struct {
	MadeBy    string          `json:"made_by"`
	Digest    string          `json:"digest"`
	Public    string          `json:"public"`
	Private   string          `json:"private"`
	Signature trust.Signature `json:"signature"`
}) {
	t.Helper()
	b, err := os.ReadFile("testdata/cosign.json")
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil || len(all) < 3 {
		t.Fatalf("testdata/cosign.json: %d signatures, %v; want one of each form", len(all), err)
	}
	return all
}

func TestSignaturesOfCosign(t *testing.T) {
	simple, bundles := 0, 0
	for _, f := range fixtures(t) {
		if len(f.Signature.Bundle) > 0 {
			bundles++
		} else {
			simple++
		}
		public, err := trust.ParsePEM("cosign.pub", []byte(f.Public))
		if err != nil {
			t.Fatal(err)
		}
		set := trust.Set(public)
		if k, err := set.VerifyDigest(f.Digest, []trust.Signature{f.Signature}); err != nil || k.ID != public[0].ID {
			t.Errorf("%s: VerifyDigest() = %v, %v; want %v", f.MadeBy, k, err, public[0])
		}
		if _, err := set.VerifyDigest(digestOf(nil), []trust.Signature{f.Signature}); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%s, of another digest: %v; want %v", f.MadeBy, err, trust.ErrUntrusted)
		}
		stranger := trust.Set{newKey(t, keys.P256).Public()}
		if _, err := stranger.VerifyDigest(f.Digest, []trust.Signature{f.Signature}); !errors.Is(err, trust.ErrUntrusted) {
			t.Errorf("%s, another key: %v; want %v", f.MadeBy, err, trust.ErrUntrusted)
		}
		for name, b := range map[string]*[]byte{"payload": &f.Signature.Payload, "signature": &f.Signature.Signature} {
			if len(*b) == 0 {
				continue
			}
			whole := *b
			*b = bytes.Clone(whole)
			(*b)[len(whole)/2] ^= 1
			if _, err := set.VerifyDigest(f.Digest, []trust.Signature{f.Signature}); !errors.Is(err, trust.ErrUntrusted) {
				t.Errorf("%s, a flipped bit in the %s: %v; want %v", f.MadeBy, name, err, trust.ErrUntrusted)
			}
			*b = whole
		}
		k, err := keys.Parse("cosign.key", []byte(f.Private), func() ([]byte, bool) { return []byte("fixture"), true })
		if err != nil || k.Public().ID != public[0].ID {
			t.Errorf("%s: its private key: %v", f.MadeBy, err)
		}
	}
	if simple == 0 || bundles == 0 {
		t.Errorf("%d simple signatures and %d bundles; want both forms", simple, bundles)
	}
}
