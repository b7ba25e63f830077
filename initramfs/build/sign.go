package build

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// A Signer signs EFI programs for Secure Boot: with the key of a certificate
// that is in the firmware's db, or that one in there signed.
type Signer struct {
	key   *rsa.PrivateKey
	certs []*x509.Certificate // the key's own first
}

// NewSigner returns a Signer with a key and its certificate, which others on
// the way to the one in db may follow. The key must be RSA: firmware knows
// nothing else for certain.
func NewSigner(key crypto.PrivateKey, certs ...*x509.Certificate) (*Signer, error) {
	k, ok := key.(*rsa.PrivateKey)
	if !ok || k.N.BitLen() < 2048 {
		return nil, errors.New("the key for Secure Boot is not RSA with 2048 bits or more, which is what firmware takes")
	}
	if len(certs) == 0 || !k.PublicKey.Equal(certs[0].PublicKey) {
		return nil, errors.New("the certificate for Secure Boot is not that of the key")
	}
	return &Signer{k, certs}, nil
}

// Object identifiers of Authenticode (Windows Authenticode Portable Executable
// Signature Format) and PKCS #7 (RFC 2315).
var (
	oidSignedData      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidContentType     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidRSA             = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidSHA256          = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSpcIndirectData = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 4}
	oidSpcPEImage      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 311, 2, 1, 15}
)

// Sign writes an EFI program with its signature, which holds no time: the same
// program and key give the same bytes.
func (s *Signer) Sign(w io.Writer, image []byte) error {
	p, err := parsePE(image)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	if p.certificates() == 0 {
		return fmt.Errorf("signing: %w: its header has no place for a signature", ErrStub)
	}
	image = append(bytes.Clone(image), make([]byte, -len(image)&7)...)
	digest, err := p.authenticode(image)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	signed, err := s.signedData(digest)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	// WIN_CERTIFICATE: length, revision 2.0, type PKCS #7.
	le := binary.LittleEndian
	entry := le.AppendUint32(nil, uint32(8+len(signed)))
	entry = le.AppendUint16(entry, 0x0200)
	entry = le.AppendUint16(entry, 0x0002)
	entry = append(entry, signed...)
	entry = append(entry, make([]byte, -len(entry)&7)...)
	le.PutUint32(image[p.certificates():], uint32(len(image)))
	le.PutUint32(image[p.certificates()+4:], uint32(len(entry)))
	for _, b := range [][]byte{image, entry} {
		if _, err := w.Write(b); err != nil {
			return fmt.Errorf("writing the signed program: %w", err)
		}
	}
	return nil
}

// certificates is the offset of the header's entry for signatures; 0 when it
// has none.
func (p *peStub) certificates() int {
	const entry = 4
	at := p.opt + 112 + entry*8
	if binary.LittleEndian.Uint32(p.image[p.opt+108:]) <= entry || at+8 > p.table {
		return 0
	}
	return at
}

// authenticode is the digest of all that a signature covers: the program
// without its checksum and the entry for signatures. Firmware hashes headers,
// sections and what follows them one by one, so that nothing may lie between.
func (p *peStub) authenticode(image []byte) ([]byte, error) {
	le := binary.LittleEndian
	checksum, entry := p.opt+64, p.certificates()
	if le.Uint64(image[entry:]) != 0 {
		return nil, errors.New("the program is signed already")
	}
	end := int(le.Uint32(image[p.opt+60:]))
	for i := range int(le.Uint16(image[p.coff+2:])) {
		s := image[p.table+i*40:][:40]
		size, off := int(le.Uint32(s[16:])), int(le.Uint32(s[20:]))
		if size == 0 {
			continue
		}
		if off != end {
			return nil, fmt.Errorf("%w: section %d starts at %#x, what comes before it ends at %#x", ErrStub, i, off, end)
		}
		end = off + size
	}
	h := sha256.New()
	h.Write(image[:checksum])
	h.Write(image[checksum+4 : entry])
	h.Write(image[entry+8:])
	return h.Sum(nil), nil
}

// signedData is the PKCS #7 message about the program with a digest.
func (s *Signer) signedData(digest []byte) ([]byte, error) {
	content := spcIndirectData(digest)
	body, err := inner(content)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	attributes := signedAttributes(sum[:])
	sum = sha256.Sum256(set(attributes))
	signature, err := s.key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	sequence(&b, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSignedData)
		explicit(b, 0, func(b *cryptobyte.Builder) {
			sequence(b, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(cbasn1.SET, addSHA256)
				sequence(b, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(oidSpcIndirectData)
					explicit(b, 0, func(b *cryptobyte.Builder) { b.AddBytes(content) })
				})
				explicit(b, 0, func(b *cryptobyte.Builder) {
					for _, c := range s.certs {
						b.AddBytes(c.Raw)
					}
				})
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { s.addSignerInfo(b, attributes, signature) })
			})
		})
	})
	return b.Bytes()
}

func (s *Signer) addSignerInfo(b *cryptobyte.Builder, attributes, signature []byte) {
	sequence(b, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		sequence(b, func(b *cryptobyte.Builder) {
			b.AddBytes(s.certs[0].RawIssuer)
			b.AddASN1BigInt(s.certs[0].SerialNumber)
		})
		addSHA256(b)
		explicit(b, 0, func(b *cryptobyte.Builder) { b.AddBytes(attributes) })
		addAlgorithm(b, oidRSA)
		b.AddASN1OctetString(signature)
	})
}

// spcIndirectData says what is signed: a PE image with this digest.
func spcIndirectData(digest []byte) []byte {
	var b cryptobyte.Builder
	sequence(&b, func(b *cryptobyte.Builder) {
		sequence(b, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidSpcPEImage)
			sequence(b, func(b *cryptobyte.Builder) {
				b.AddASN1(cbasn1.BIT_STRING, func(b *cryptobyte.Builder) { b.AddUint8(0) }) // no flags
				explicit(b, 0, func(b *cryptobyte.Builder) {
					explicit(b, 2, func(b *cryptobyte.Builder) {
						b.AddASN1(cbasn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) {
							for _, c := range "<<<Obsolete>>>" { // BMPString, as the specification wants it
								b.AddUint16(uint16(c))
							}
						})
					})
				})
			})
		})
		sequence(b, func(b *cryptobyte.Builder) {
			addSHA256(b)
			b.AddASN1OctetString(digest)
		})
	})
	return b.BytesOrPanic()
}

// signedAttributes are what the signature itself is over, in DER's order of a
// SET, without its header.
func signedAttributes(digest []byte) []byte {
	attribute := func(b *cryptobyte.Builder, oid asn1.ObjectIdentifier, value func(*cryptobyte.Builder)) {
		sequence(b, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oid)
			b.AddASN1(cbasn1.SET, value)
		})
	}
	var b cryptobyte.Builder
	attribute(&b, oidContentType, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidSpcIndirectData) })
	attribute(&b, oidMessageDigest, func(b *cryptobyte.Builder) { b.AddASN1OctetString(digest) })
	return b.BytesOrPanic()
}

func set(content []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	return b.BytesOrPanic()
}

// inner returns the content of a SEQUENCE, without its header.
func inner(der []byte) ([]byte, error) {
	in, content := cryptobyte.String(der), cryptobyte.String(nil)
	if !in.ReadASN1(&content, cbasn1.SEQUENCE) {
		return nil, errors.New("not a SEQUENCE")
	}
	return content, nil
}

func sequence(b *cryptobyte.Builder, f func(*cryptobyte.Builder)) { b.AddASN1(cbasn1.SEQUENCE, f) }

func explicit(b *cryptobyte.Builder, tag uint8, f func(*cryptobyte.Builder)) {
	b.AddASN1(cbasn1.Tag(tag).ContextSpecific().Constructed(), f)
}

func addSHA256(b *cryptobyte.Builder) { addAlgorithm(b, oidSHA256) }

func addAlgorithm(b *cryptobyte.Builder, oid asn1.ObjectIdentifier) {
	sequence(b, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		b.AddASN1NULL()
	})
}
