package keys

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/abupdate/abupdate/internal/fault"
)

// The types of PEM blocks that hold private keys.
const (
	plainType     = "PRIVATE KEY"
	ecType        = "EC PRIVATE KEY"
	sigstoreType  = "ENCRYPTED SIGSTORE PRIVATE KEY"
	cosignOldType = "ENCRYPTED COSIGN PRIVATE KEY"
)

// Parse reads a private key. name is the file's, for messages. password is
// asked for only when the key is encrypted; it says whether there is one.
func Parse(name string, text []byte, password func() ([]byte, bool)) (*Private, error) {
	k, err := parse(text, password)
	if err != nil {
		return nil, fault.Errorf(fault.Usage, "reading private key %s: %w", name, err)
	}
	return k, nil
}

func parse(text []byte, password func() ([]byte, bool)) (*Private, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("not in PEM")
	}
	der := block.Bytes
	switch block.Type {
	case plainType:
	case ecType:
		k, err := x509.ParseECPrivateKey(der)
		if err != nil {
			return nil, err
		}
		return fromSigner(k)
	case sigstoreType, cosignOldType:
		pass, ok := password()
		if !ok {
			return nil, fmt.Errorf("it is encrypted, and %s is not set", PasswordVariable)
		}
		var err error
		if der, err = decrypt(der, pass); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("holds %q, no private key that is known", block.Type)
	}
	k, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", k)
	}
	return fromSigner(signer)
}

// PEM is the private key as a file holds it, encrypted unless password is nil.
func (p *Private) PEM(password []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.signer)
	if err != nil {
		return nil, fmt.Errorf("writing private key: %w", err)
	}
	if password == nil {
		return pem.EncodeToMemory(&pem.Block{Type: plainType, Bytes: der}), nil
	}
	box, err := encrypt(der, password)
	if err != nil {
		return nil, fmt.Errorf("writing private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: sigstoreType, Bytes: box}), nil
}
