package install

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"

	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/fault"
)

// readSigner reads what the UKI is signed with, nil when it is not to be.
func readSigner(opt BootOptions) (*build.Signer, error) {
	switch {
	case opt.SBKey == "" && opt.SBCert == "":
		return nil, nil
	case opt.SBKey == "" || opt.SBCert == "":
		return nil, fault.Errorf(fault.Usage, "--sb-key and --sb-cert go together: the one is the key of the other")
	case opt.Stub == StubNone:
		return nil, fault.Errorf(fault.Usage, "no UKI is made that could be signed for Secure Boot")
	}
	key, err := readKey(opt.SBKey)
	if err != nil {
		return nil, fault.Errorf(fault.Usage, "reading the key for Secure Boot %s: %w", opt.SBKey, err)
	}
	certs, err := readCertificates(opt.SBCert)
	if err != nil {
		return nil, fault.Errorf(fault.Usage, "reading the certificate for Secure Boot %s: %w", opt.SBCert, err)
	}
	signer, err := build.NewSigner(key, certs...)
	return signer, fault.Wrap(fault.Usage, err)
}

// readKey reads a private key in PEM, PKCS #8 or PKCS #1, without a passphrase.
func readKey(path string) (crypto.PrivateKey, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("it is no PEM file")
	}
	switch block.Type {
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] == "" {
			return x509.ParsePKCS1PrivateKey(block.Bytes)
		}
		fallthrough
	case "ENCRYPTED PRIVATE KEY":
		return nil, fmt.Errorf("it has a passphrase, for which nobody could be asked (openssl pkey takes it off)")
	}
	return nil, fmt.Errorf("it holds a %s, not a PRIVATE KEY", block.Type)
}

// readCertificates reads a certificate in PEM or DER, and in PEM those that
// follow it.
func readCertificates(path string) ([]*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var der []byte
	found := false
	for rest := raw; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if found = true; block.Type == "CERTIFICATE" {
			der = append(der, block.Bytes...)
		}
	}
	if !found {
		der = raw
	}
	return x509.ParseCertificates(der)
}
