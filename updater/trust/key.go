package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// A Key is a public key. The zero Key verifies nothing.
type Key struct {
	// Name is where the key came from, for messages.
	Name string
	// ID is the SHA-256 of the key's DER form, in hexadecimal.
	ID string

	p256    *ecdsa.PublicKey
	ed25519 ed25519.PublicKey
}

// String names the key for people.
func (k Key) String() string {
	id := k.ID[:min(len(k.ID), 16)]
	if k.Name == "" {
		return id
	}
	return k.Name + " (" + id + ")"
}

// The object identifiers of RFC 5480 and RFC 8410.
var (
	oidECDSA   = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidP256    = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7}
	oidEd25519 = asn1.ObjectIdentifier{1, 3, 101, 112}
)

// spki is SubjectPublicKeyInfo of RFC 5280. crypto/x509 would do, and bring a
// megabyte of certificates and network addresses into the initramfs.
type spki struct {
	Algorithm struct {
		OID        asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	Key asn1.BitString
}

// ParseDER reads a public key in the form of SubjectPublicKeyInfo.
func ParseDER(der []byte) (Key, error) {
	var info spki
	rest, err := asn1.Unmarshal(der, &info)
	if err == nil && len(rest) > 0 {
		err = errors.New("data after the key")
	}
	if err != nil {
		return Key{}, fmt.Errorf("reading public key: %w", err)
	}
	sum := sha256.Sum256(der)
	k := Key{ID: hex.EncodeToString(sum[:])}
	switch oid := info.Algorithm.OID; {
	case oid.Equal(oidEd25519):
		if len(info.Key.Bytes) != ed25519.PublicKeySize {
			return Key{}, fmt.Errorf("reading public key: Ed25519 key of %d bytes, not %d", len(info.Key.Bytes), ed25519.PublicKeySize)
		}
		k.ed25519 = info.Key.Bytes
	case oid.Equal(oidECDSA):
		var curve asn1.ObjectIdentifier
		if _, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &curve); err != nil || !curve.Equal(oidP256) {
			return Key{}, fmt.Errorf("reading public key: ECDSA on curve %v; only P-256 (%v) is known", curve, oidP256)
		}
		if k.p256, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), info.Key.Bytes); err != nil {
			return Key{}, fmt.Errorf("reading public key: %w", err)
		}
	default:
		return Key{}, fmt.Errorf("reading public key: algorithm %v is neither ECDSA P-256 nor Ed25519", oid)
	}
	return k, nil
}

// pemType is the only block that a key file may have.
const pemType = "PUBLIC KEY"

// ParsePEM reads the public keys in a PEM file, one or more. name is the
// file's, for messages.
func ParsePEM(name string, text []byte) ([]Key, error) {
	var keys []Key
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != pemType {
			return nil, fmt.Errorf("%s: holds %q, where %q is wanted", name, block.Type, pemType)
		}
		k, err := ParseDER(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		k.Name = name
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: holds no %q in PEM", name, pemType)
	}
	return keys, nil
}

// verify checks a signature over message.
func (k Key) verify(message, signature []byte) bool {
	switch {
	case k.p256 != nil:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(k.p256, sum[:], signature)
	case k.ed25519 != nil:
		return len(signature) == ed25519.SignatureSize && ed25519.Verify(k.ed25519, message, signature)
	}
	return false
}

// A Set is the keys that are trusted; one of them is enough. The empty Set
// trusts nobody.
type Set []Key

// Add puts keys into the set that are not in it.
func (s *Set) Add(keys ...Key) {
next:
	for _, k := range keys {
		for _, old := range *s {
			if old.ID == k.ID {
				continue next
			}
		}
		*s = append(*s, k)
	}
}

// verify returns the key that made the signature over message.
func (s Set) verify(message, signature []byte) (Key, bool) {
	for _, k := range s {
		if k.verify(message, signature) {
			return k, true
		}
	}
	return Key{}, false
}

// String lists the keys.
func (s Set) String() string {
	var b bytes.Buffer
	for i, k := range s {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(k.String())
	}
	return b.String()
}
