package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/crypto/nacl/secretbox"
	"golang.org/x/crypto/scrypt"
)

// envelope is what cosign keeps an encrypted key in, of the form that
// go-tuf's package encrypted had first (theupdateframework, secure-systems-lab).
type envelope struct {
	KDF struct {
		Name   string `json:"name"`
		Params struct {
			N int `json:"N"`
			R int `json:"r"`
			P int `json:"p"`
		} `json:"params"`
		Salt []byte `json:"salt"`
	} `json:"kdf"`
	Cipher struct {
		Name  string `json:"name"`
		Nonce []byte `json:"nonce"`
	} `json:"cipher"`
	Ciphertext []byte `json:"ciphertext"`
}

const (
	kdfName    = "scrypt"
	cipherName = "nacl/secretbox"
	saltLen    = 32
	nonceLen   = 24
	keyLen     = 32
	// The cost that cosign 2 and 3 use: 64 MiB of memory.
	scryptN, scryptR, scryptP = 1 << 16, 8, 1
	// The most that a file may ask for: 1 GiB.
	maxScryptMemory = 1 << 30
)

func decrypt(box, password []byte) ([]byte, error) {
	var e envelope
	if err := json.Unmarshal(box, &e); err != nil {
		return nil, fmt.Errorf("decrypting: %w", err)
	}
	p := e.KDF.Params
	switch {
	case e.KDF.Name != kdfName || e.Cipher.Name != cipherName:
		return nil, fmt.Errorf("decrypting: %q with %q, not %q with %q", e.Cipher.Name, e.KDF.Name, cipherName, kdfName)
	case len(e.Cipher.Nonce) != nonceLen:
		return nil, fmt.Errorf("decrypting: nonce of %d bytes, not %d", len(e.Cipher.Nonce), nonceLen)
	case p.N <= 1 || p.R <= 0 || p.P <= 0 || p.P > 64 || p.R > 64 || p.N > maxScryptMemory/128/p.R:
		return nil, fmt.Errorf("decrypting: scrypt with N=%d r=%d p=%d is out of range", p.N, p.R, p.P)
	}
	key, err := deriveKey(password, e.KDF.Salt, p.N, p.R, p.P)
	if err != nil {
		return nil, err
	}
	plain, ok := secretbox.Open(nil, e.Ciphertext, (*[nonceLen]byte)(e.Cipher.Nonce), key)
	if !ok {
		return nil, errors.New("decrypting: the password is wrong, or the file is damaged")
	}
	return plain, nil
}

func encrypt(plain, password []byte) ([]byte, error) {
	var e envelope
	e.KDF.Name, e.Cipher.Name = kdfName, cipherName
	e.KDF.Params.N, e.KDF.Params.R, e.KDF.Params.P = scryptN, scryptR, scryptP
	e.KDF.Salt, e.Cipher.Nonce = make([]byte, saltLen), make([]byte, nonceLen)
	rand.Read(e.KDF.Salt)
	rand.Read(e.Cipher.Nonce)
	key, err := deriveKey(password, e.KDF.Salt, scryptN, scryptR, scryptP)
	if err != nil {
		return nil, err
	}
	e.Ciphertext = secretbox.Seal(nil, plain, (*[nonceLen]byte)(e.Cipher.Nonce), key)
	return json.Marshal(e)
}

func deriveKey(password, salt []byte, n, r, p int) (*[keyLen]byte, error) {
	key, err := scrypt.Key(bytes.Clone(password), salt, n, r, p, keyLen)
	if err != nil {
		return nil, fmt.Errorf("deriving the key's key: %w", err)
	}
	return (*[keyLen]byte)(key), nil
}
