package install_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"debug/pe"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/install"
)

// pair makes a key and its certificate, as files by kind.
func pair(t *testing.T) map[string]string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "db"},
		NotBefore: time.Unix(1700000000, 0), NotAfter: time.Unix(2900000000, 0),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	files, dir := map[string]string{}, t.TempDir()
	for name, content := range map[string][]byte{
		"pkcs8": block("PRIVATE KEY", pkcs8), "pkcs1": block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(key)),
		"passphrase": block("ENCRYPTED PRIVATE KEY", pkcs8), "pem": block("CERTIFICATE", cert), "der": cert,
		"text": []byte("text"), "both": append(block("PRIVATE KEY", pkcs8), block("CERTIFICATE", cert)...),
	} {
		files[name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[name], content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// The selector on the ESP is signed, whatever form key and certificate have.
func TestImageForSecureBoot(t *testing.T) {
	dir, files := images(t), pair(t)
	for _, form := range [][2]string{{"pkcs8", "pem"}, {"pkcs1", "der"}, {"both", "both"}} {
		opt := options(t, dir, "v1")
		opt.Boot.SBKey, opt.Boot.SBCert = files[form[0]], files[form[1]]
		path := filepath.Join(t.TempDir(), "disk.raw")
		if _, err := install.Image(t.Context(), opt, path, install.FormatRaw); err != nil {
			t.Fatal(err)
		}
		loader, err := disk.ReadESP(read(t, path).disk, updater.LoaderPath("amd64"))
		if err != nil {
			t.Fatal(err)
		}
		f, err := pe.NewFile(bytes.NewReader(loader))
		if err != nil {
			t.Fatal(err)
		}
		if f.OptionalHeader.(*pe.OptionalHeader64).DataDirectory[4].Size == 0 {
			t.Errorf("with %v the selector is not signed", form)
		}
		efi := filepath.Join(t.TempDir(), "uki.efi")
		if err := os.WriteFile(efi, loader, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sbverify", "--cert", files["pem"], efi).CombinedOutput()
		if err != nil {
			t.Errorf("with %v: sbverify (Debian package sbsigntool): %v\n%s", form, err, out)
		}
	}
}

func TestSecureBootRefuses(t *testing.T) {
	dir, files, others := images(t), pair(t), pair(t)
	for _, tt := range []struct{ name, key, cert, stub, says string }{
		{"a key alone", files["pkcs8"], "", "", "go together"},
		{"a certificate alone", "", files["pem"], "", "go together"},
		{"no such key", "/nonexistent", files["pem"], "", "/nonexistent"},
		{"a key with a passphrase", files["passphrase"], files["pem"], "", "passphrase"},
		{"a certificate as the key", files["pem"], files["pem"], "", "not a PRIVATE KEY"},
		{"text as the key", files["text"], files["pem"], "", "no PEM file"},
		{"text as the certificate", files["pkcs8"], files["text"], "", "reading the certificate"},
		{"a key as the certificate", files["pkcs8"], files["pkcs8"], "", "not that of the key"},
		{"another's certificate", files["pkcs8"], others["pem"], "", "not that of the key"},
		{"no UKI", files["pkcs8"], files["pem"], install.StubNone, "no UKI"},
	} {
		opt := options(t, dir, "v1")
		opt.Boot.SBKey, opt.Boot.SBCert = tt.key, tt.cert
		if tt.stub != "" {
			opt.Boot.Stub = tt.stub
		}
		path := filepath.Join(t.TempDir(), "disk.raw")
		_, err := install.Image(t.Context(), opt, path, install.FormatRaw)
		if fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: Image() = %v; want a usage error with %q", tt.name, err, tt.says)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: a disk was made all the same", tt.name)
		}
	}
}
