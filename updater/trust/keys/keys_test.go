package keys_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

func noPassword() ([]byte, bool) { return nil, false }

func password(s string) func() ([]byte, bool) {
	return func() ([]byte, bool) { return []byte(s), true }
}

func generate(t *testing.T, a keys.Algorithm) *keys.Private {
	t.Helper()
	k, err := keys.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestRoundTrip(t *testing.T) {
	for _, a := range []keys.Algorithm{keys.P256, keys.Ed25519} {
		k := generate(t, a)
		for _, pass := range [][]byte{nil, {}, []byte("secret")} {
			text, err := k.PEM(pass)
			if err != nil {
				t.Fatal(err)
			}
			got, err := keys.Parse("k", text, password(string(pass)))
			if err != nil || got.Public().ID != k.Public().ID {
				t.Errorf("%s with password %q: Parse(PEM()) = %v", a, pass, err)
			}
		}
	}
	if _, err := keys.Generate("rsa"); fault.KindOf(err) != fault.Usage {
		t.Errorf("Generate(rsa) = %v; want a usage error", err)
	}
}

func TestParseRefuses(t *testing.T) {
	locked, err := generate(t, keys.P256).PEM([]byte("right"))
	if err != nil {
		t.Fatal(err)
	}
	public, err := generate(t, keys.P256).PublicPEM()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		text     string
		password func() ([]byte, bool)
		want     string
	}{
		{"wrong password", string(locked), password("wrong"), "the password is wrong"},
		{"no password", string(locked), noPassword, keys.PasswordVariable},
		{"a public key", string(public), noPassword, `"PUBLIC KEY"`},
		{"no PEM", "key", noPassword, "not in PEM"},
		{"RSA", string(openssl(t, "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")), noPassword, "neither ECDSA"},
	} {
		_, err := keys.Parse("the.key", []byte(tt.text), tt.password)
		if fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "the.key") {
			t.Errorf("%s: Parse() = %v; want a usage error with %q and the file", tt.name, err, tt.want)
		}
	}
}

// openssl knows our keys and signatures, and we know its keys.
func TestAgainstOpenSSL(t *testing.T) {
	for name, args := range map[string][]string{
		"PKCS#8 P-256":   {"genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"},
		"SEC 1 P-256":    {"ecparam", "-genkey", "-noout", "-name", "prime256v1"},
		"PKCS#8 Ed25519": {"genpkey", "-algorithm", "ED25519"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := keys.Parse("k", openssl(t, args...), noPassword)
			if err != nil {
				t.Fatal(err)
			}
			sig, err := k.Sign("sha256:"+strings.Repeat("0", 64), "")
			if err != nil {
				t.Fatal(err)
			}
			public, err := k.PublicPEM()
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for file, b := range map[string][]byte{"pub": public, "payload": sig.Payload, "sig": sig.Signature} {
				if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			verify := []string{"dgst", "-sha256", "-verify", dir + "/pub", "-signature", dir + "/sig", dir + "/payload"}
			if strings.Contains(name, "Ed25519") {
				verify = []string{"pkeyutl", "-verify", "-pubin", "-inkey", dir + "/pub", "-rawin", "-in", dir + "/payload", "-sigfile", dir + "/sig"}
			}
			openssl(t, verify...) // fails when the signature is wrong
		})
	}
}

func openssl(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("openssl", args...).Output()
	if err != nil {
		t.Fatalf("openssl %v (Debian package openssl): %v", args, err)
	}
	return out
}
