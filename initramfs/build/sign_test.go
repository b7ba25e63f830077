package build_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/pe"
	"encoding/binary"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/abupdate/abupdate/initramfs/build"
)

// rsaKey is made once: that takes a while.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// certificate makes one that signs itself.
func certificate(t testing.TB, key *rsa.PrivateKey, name string) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1<<40 + 255), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Unix(1700000000, 0), NotAfter: time.Unix(2900000000, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func sign(t testing.TB, image []byte, cert *x509.Certificate) []byte {
	t.Helper()
	s, err := build.NewSigner(newKey(t), cert)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := s.Sign(&b, image); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sbverify asks sbsigntool, and returns its output.
func sbverify(t *testing.T, image []byte, cert *x509.Certificate) (string, error) {
	t.Helper()
	path, err := exec.LookPath("sbverify")
	if err != nil {
		t.Fatal("sbverify is missing; install the Debian package sbsigntool")
	}
	dir := t.TempDir()
	files := map[string][]byte{
		"image.efi": image,
		"db.pem":    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(path, "--cert", filepath.Join(dir, "db.pem"), filepath.Join(dir, "image.efi")).CombinedOutput()
	return string(out), err
}

func TestSignOracle(t *testing.T) {
	cert := certificate(t, newKey(t), "ours")
	plain := uki(t, ukiOptions())
	signed := sign(t, plain, cert)
	if out, err := sbverify(t, signed, cert); err != nil || strings.Contains(out, "warning") {
		t.Errorf("sbverify of a signed UKI: %v\n%s", err, out)
	}
	if out, err := sbverify(t, signed, certificate(t, newKey(t), "somebody else's")); err == nil {
		t.Errorf("sbverify with another certificate of that key accepts it:\n%s", out)
	}
	if out, err := sbverify(t, plain, cert); err == nil {
		t.Errorf("sbverify accepts an unsigned UKI:\n%s", out)
	}
	if again := sign(t, plain, cert); !bytes.Equal(signed, again) {
		t.Error("signing twice gives different bytes")
	}
}

// Every part of the program is covered: headers, sections, padding.
func TestSignCoversEverything(t *testing.T) {
	cert := certificate(t, newKey(t), "ours")
	plain := uki(t, ukiOptions())
	signed := sign(t, plain, cert)
	f, err := pe.NewFile(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	header := int(binary.LittleEndian.Uint32(plain[0x3c:]))
	places := map[string]int{"DOS header": 2, "entry point": header + 24 + 16, "last byte": len(plain) - 1}
	for _, s := range f.Sections {
		places["start of "+s.Name] = int(s.Offset)
		places["end of "+s.Name] = int(s.Offset + s.Size - 1)
	}
	for name, at := range places {
		changed := bytes.Clone(signed)
		changed[at] ^= 1
		if out, err := sbverify(t, changed, cert); err == nil {
			t.Errorf("%s (byte %d) changed, and sbverify accepts it:\n%s", name, at, out)
		}
	}
}

// What is signed still reads as a UKI, and is the same program.
func TestSignedUKIReadBack(t *testing.T) {
	plain := uki(t, ukiOptions())
	signed := sign(t, plain, certificate(t, newKey(t), "ours"))
	got, err := build.ReadUKI(bytes.NewReader(signed))
	if err != nil || string(got.Linux) != string(ukiOptions().Linux) {
		t.Errorf("ReadUKI() of a signed UKI = %d bytes of kernel, %v", len(got.Linux), err)
	}
	f, err := pe.NewFile(bytes.NewReader(signed))
	if err != nil {
		t.Fatal(err)
	}
	table := f.OptionalHeader.(*pe.OptionalHeader64).DataDirectory[4]
	if int(table.VirtualAddress+table.Size) != len(signed) || table.VirtualAddress%8 != 0 || int(table.VirtualAddress) < len(plain) {
		t.Errorf("signatures at %d+%d of %d bytes; want them at the end, behind %d", table.VirtualAddress, table.Size, len(signed), len(plain))
	}
}

func TestSignRefuses(t *testing.T) {
	key := newKey(t)
	cert := certificate(t, key, "ours")
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		key  any
		cert []*x509.Certificate
		want string
	}{
		"not RSA":        {curve, []*x509.Certificate{cert}, "not RSA"},
		"another key":    {other, []*x509.Certificate{cert}, "not that of the key"},
		"no certificate": {key, nil, "not that of the key"},
	} {
		if _, err := build.NewSigner(tt.key, tt.cert...); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: NewSigner() = %v; want an error with %q", name, err, tt.want)
		}
	}
	s, err := build.NewSigner(key, cert)
	if err != nil {
		t.Fatal(err)
	}
	plain := uki(t, ukiOptions())
	for name, tt := range map[string]struct {
		image []byte
		want  string
	}{
		"signed already": {sign(t, plain, cert), "signed already"},
		"not a program":  {[]byte("text"), "no MZ header"},
		"a hole between sections": {func() []byte {
			b := bytes.Clone(plain)
			pe := int(binary.LittleEndian.Uint32(b[0x3c:]))
			last := pe + 24 + int(binary.LittleEndian.Uint16(b[pe+20:])) + 40*(int(binary.LittleEndian.Uint16(b[pe+6:]))-1)
			binary.LittleEndian.PutUint32(b[last+20:], binary.LittleEndian.Uint32(b[last+20:])-512)
			return b
		}(), "what comes before it ends at"},
	} {
		if err := s.Sign(&bytes.Buffer{}, tt.image); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Sign() = %v; want an error with %q", name, err, tt.want)
		}
	}
	if err := s.Sign(&failAfter{100}, plain); err == nil {
		t.Error("Sign() to a full disk = nil; want an error")
	}
}
