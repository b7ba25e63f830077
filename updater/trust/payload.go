package trust

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// simpleType is critical.type of the payloads that cosign makes.
const simpleType = "cosign container image signature"

// simple is the payload of a simple signature.
type simple struct {
	Critical struct {
		Identity struct {
			Reference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// Payload returns the simple signing payload for an OCI manifest's digest,
// "sha256:HEX". reference may be empty: it says nothing to a device.
func Payload(digest, reference string) ([]byte, error) {
	var p simple
	p.Critical.Identity.Reference, p.Critical.Image.Digest, p.Critical.Type = reference, digest, simpleType
	return json.Marshal(p)
}

// simpleDigest returns the digest that a payload names.
func simpleDigest(payload []byte) (string, error) {
	var p simple
	if err := decode(payload, &p); err != nil {
		return "", fmt.Errorf("signed payload: %w", err)
	}
	if p.Critical.Type != simpleType && p.Critical.Type != "atomic container signature" {
		return "", fmt.Errorf("signed payload: type is %q, not %q", p.Critical.Type, simpleType)
	}
	return p.Critical.Image.Digest, nil
}

// statement is an in-toto statement, as far as it matters here.
type statement struct {
	Type    string `json:"_type"`
	Subject []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
	PredicateType string `json:"predicateType"`
}

// The statements that cosign signs for "this image is good". An attestation
// about an image (an SBOM, say) is signed by the same key and names the same
// digest, and must not count.
const (
	signPredicate   = "https://sigstore.dev/cosign/sign/v1"
	statementType   = "https://in-toto.io/Statement/v1"
	statementTypeV0 = "https://in-toto.io/Statement/v0.1"
	dsseType        = "application/vnd.in-toto+json"
)

// statementDigests returns the digests that a statement is about.
func statementDigests(payload []byte) ([]string, error) {
	var s statement
	if err := decode(payload, &s); err != nil {
		return nil, fmt.Errorf("signed statement: %w", err)
	}
	if s.Type != statementType && s.Type != statementTypeV0 {
		return nil, fmt.Errorf("signed statement: type %q", s.Type)
	}
	if s.PredicateType != signPredicate {
		return nil, fmt.Errorf("signed statement: says %q, not %q", s.PredicateType, signPredicate)
	}
	var digests []string
	for _, sub := range s.Subject {
		if hex, ok := sub.Digest["sha256"]; ok {
			digests = append(digests, "sha256:"+hex)
		}
	}
	return digests, nil
}

// decode reads one JSON value of no more than one document.
func decode(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.More() {
		return fmt.Errorf("data after the document at byte %d", dec.InputOffset())
	}
	return nil
}

// preAuth is DSSE's pre-authentication encoding, the bytes that are signed
// (github.com/secure-systems-lab/dsse, protocol.md).
func preAuth(payloadType string, payload []byte) []byte {
	b := []byte("DSSEv1 " + strconv.Itoa(len(payloadType)) + " " + payloadType + " " + strconv.Itoa(len(payload)) + " ")
	return append(b, payload...)
}
