package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/abupdate/abupdate/internal/manifest"
)

// ErrUntrusted is wrapped by the errors of Verify: nobody who is trusted has
// signed this.
var ErrUntrusted = errors.New("no valid signature")

// MaxEnvelope bounds an encoded Envelope, in bytes; a slot holds no more.
const MaxEnvelope = 64 << 10

// A Signature is one statement about the digest of an OCI manifest: a simple
// signature with its payload, or a sigstore bundle.
type Signature struct {
	Payload   []byte `json:"payload,omitempty"`
	Signature []byte `json:"signature,omitempty"`
	Bundle    []byte `json:"bundle,omitempty"`
}

// An Envelope holds what leads from a key to an update manifest.
type Envelope struct {
	// OCIManifest is the artifact's manifest, whose config is the update
	// manifest.
	OCIManifest []byte      `json:"oci_manifest"`
	Signatures  []Signature `json:"signatures"`
	// KeyLists lead from a key that the reader has to one that it has not.
	KeyLists []KeyList `json:"key_lists,omitempty"`
}

// Encode returns the envelope as a slot holds it.
func (e *Envelope) Encode() ([]byte, error) {
	b, err := json.Marshal(e)
	if err == nil && len(b) > MaxEnvelope {
		err = fmt.Errorf("%d bytes, more than %d", len(b), MaxEnvelope)
	}
	if err != nil {
		return nil, fmt.Errorf("packing signatures: %w", err)
	}
	return b, nil
}

// DecodeEnvelope is the inverse of Encode.
func DecodeEnvelope(b []byte) (*Envelope, error) {
	if len(b) > MaxEnvelope {
		return nil, fmt.Errorf("reading signatures: %d bytes, more than %d", len(b), MaxEnvelope)
	}
	e := new(Envelope)
	if err := decode(b, e); err != nil {
		return nil, fmt.Errorf("reading signatures: %w", err)
	}
	return e, nil
}

// VerifyDigest says which key of the set has signed digest, "sha256:HEX" of
// an OCI manifest. The error wraps ErrUntrusted and says of the last
// signature what is wrong with it.
func (s Set) VerifyDigest(digest string, signatures []Signature) (Key, error) {
	if len(signatures) == 0 {
		return Key{}, fmt.Errorf("%s: unsigned: %w", digest, ErrUntrusted)
	}
	if len(s) == 0 {
		return Key{}, fmt.Errorf("%s: no key is trusted: %w", digest, ErrUntrusted)
	}
	var last error
	for _, sig := range signatures {
		k, digests, err := s.open(sig)
		if err == nil && slices.Contains(digests, digest) {
			return k, nil
		}
		if err == nil {
			err = fmt.Errorf("%w: %v has signed %v", ErrUntrusted, k, digests)
		}
		last = err
	}
	return Key{}, fmt.Errorf("%s: %w", digest, last)
}

// open returns who made a signature and what it is about. Nothing of the
// payload is looked at before its signature was found good.
func (s Set) open(sig Signature) (Key, []string, error) {
	if len(sig.Bundle) > 0 {
		return s.openBundle(sig.Bundle)
	}
	k, ok := s.verify(sig.Payload, sig.Signature)
	if !ok {
		return k, nil, fmt.Errorf("%w by any of %v", ErrUntrusted, s)
	}
	digest, err := simpleDigest(sig.Payload)
	if err != nil {
		return k, nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return k, []string{digest}, nil
}

// bundle is a sigstore bundle (dev.sigstore.bundle.v0.3), as far as it matters
// here.
type bundle struct {
	DSSE dsse `json:"dsseEnvelope"`
}

// dsse is a signed envelope of any payload (github.com/secure-systems-lab/dsse,
// envelope.md).
type dsse struct {
	Payload     []byte          `json:"payload"`
	PayloadType string          `json:"payloadType"`
	Signatures  []dsseSignature `json:"signatures"`
}

type dsseSignature struct {
	Sig []byte `json:"sig"`
}

// maxDSSE bounds how many signatures of one envelope are tried.
const maxDSSE = 16

// signer returns the key of the set that has signed the envelope.
func (e *dsse) signer(s Set) (Key, bool) {
	message := preAuth(e.PayloadType, e.Payload)
	for _, sig := range e.Signatures[:min(len(e.Signatures), maxDSSE)] {
		if k, ok := s.verify(message, sig.Sig); ok {
			return k, true
		}
	}
	return Key{}, false
}

func (s Set) openBundle(raw []byte) (Key, []string, error) {
	var b bundle
	if err := decode(raw, &b); err != nil {
		return Key{}, nil, fmt.Errorf("%w: signature bundle: %w", ErrUntrusted, err)
	}
	if b.DSSE.PayloadType != dsseType {
		return Key{}, nil, fmt.Errorf("%w: signature bundle holds %q, not %q", ErrUntrusted, b.DSSE.PayloadType, dsseType)
	}
	k, ok := b.DSSE.signer(s)
	if !ok {
		return k, nil, fmt.Errorf("%w by any of %v", ErrUntrusted, s)
	}
	digests, err := statementDigests(b.DSSE.Payload)
	if err != nil {
		return k, nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return k, digests, nil
}

// VerifyManifest says which key has signed an update, given the bytes of its
// update manifest. A key that one of the envelope's key lists brings counts as
// if it were in the set. An OCI manifest whose config is something else vouches
// for nothing: a key may sign other artifacts too, with a config that anybody
// chose.
func (s Set) VerifyManifest(e *Envelope, update []byte) (Key, error) {
	s = s.With(e.KeyLists)
	sum := sha256.Sum256(e.OCIManifest)
	k, err := s.VerifyDigest("sha256:"+hex.EncodeToString(sum[:]), e.Signatures)
	if err != nil {
		return k, err
	}
	var oci struct {
		Config struct {
			MediaType string `json:"mediaType"`
			Digest    string `json:"digest"`
		} `json:"config"`
	}
	if err := decode(e.OCIManifest, &oci); err != nil {
		return k, fmt.Errorf("%w: the signed OCI manifest: %w", ErrUntrusted, err)
	}
	if oci.Config.MediaType != manifest.ConfigMediaType {
		return k, fmt.Errorf("%w: what %v has signed has a config of type %q; want %s", ErrUntrusted, k, oci.Config.MediaType, manifest.ConfigMediaType)
	}
	sum = sha256.Sum256(update)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != oci.Config.Digest {
		return k, fmt.Errorf("%w: the update manifest is %s; %v has signed %s", ErrUntrusted, got, k, oci.Config.Digest)
	}
	return k, nil
}
