// Package keys makes, reads and uses the private keys that sign updates:
// PKCS#8 in PEM, or the same encrypted as cosign does. It runs on build hosts
// only.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/trust"
)

// PasswordVariable is the environment variable that holds the password of an
// encrypted key, as for cosign.
const PasswordVariable = "COSIGN_PASSWORD"

// A Private key signs.
type Private struct {
	signer crypto.Signer
	public trust.Key
}

// An Algorithm is a kind of key.
type Algorithm string

// The kinds of keys. cosign's own are P-256.
const (
	P256    Algorithm = "ecdsa-p256"
	Ed25519 Algorithm = "ed25519"
)

// Generate makes a new key.
func Generate(a Algorithm) (*Private, error) {
	switch a {
	case P256:
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making a key: %w", err)
		}
		return fromSigner(k)
	case Ed25519:
		_, k, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making a key: %w", err)
		}
		return fromSigner(k)
	}
	return nil, fault.Errorf(fault.Usage, "making a key: algorithm %q is neither %s nor %s", a, P256, Ed25519)
}

// fromSigner takes only kinds of keys that a device can verify.
func fromSigner(s crypto.Signer) (*Private, error) {
	der, err := x509.MarshalPKIXPublicKey(s.Public())
	if err != nil {
		return nil, err
	}
	public, err := trust.ParseDER(der)
	if err != nil {
		return nil, err
	}
	return &Private{s, public}, nil
}

// Public is the key's public half.
func (p *Private) Public() trust.Key { return p.public }

// PublicPEM is the public half as devices and cosign read it.
func (p *Private) PublicPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(p.signer.Public())
	if err != nil {
		return nil, fmt.Errorf("writing public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// Sign makes a simple signature on an OCI manifest's digest, "sha256:HEX".
func (p *Private) Sign(digest, reference string) (trust.Signature, error) {
	payload, err := trust.Payload(digest, reference)
	if err != nil {
		return trust.Signature{}, fmt.Errorf("signing %s: %w", digest, err)
	}
	sig, err := p.SignMessage(payload)
	if err != nil {
		return trust.Signature{}, fmt.Errorf("signing %s: %w", digest, err)
	}
	return trust.Signature{Payload: payload, Signature: sig}, nil
}

// SignList makes a key list of public keys in PEM.
func (p *Private) SignList(pem []byte) (trust.KeyList, error) {
	sig, err := p.SignMessage(trust.ListMessage(pem))
	if err != nil {
		return nil, fmt.Errorf("signing a key list: %w", err)
	}
	return trust.NewKeyList(pem, sig)
}

// SignMessage signs any message: the message itself with Ed25519, its SHA-256 with ECDSA.
func (p *Private) SignMessage(message []byte) ([]byte, error) {
	hash := crypto.Hash(0)
	if _, ok := p.signer.(*ecdsa.PrivateKey); ok {
		sum := sha256.Sum256(message)
		message, hash = sum[:], crypto.SHA256
	}
	return p.signer.Sign(rand.Reader, message, hash)
}
