package interop_test

import (
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/trust/keys"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// password is that of every private key here.
const password = "fixture"

// versions of cosign, by the folder that scripts/cosign puts each into.
var versions = []string{"v2", "v3"}

// A cosign is one version of the program, in a folder of its own.
type cosign struct {
	t       *testing.T
	version string
	dir     string
}

func newCosign(t *testing.T, version string) *cosign {
	t.Helper()
	c := &cosign{t, version, t.TempDir()}
	if _, err := os.Stat(c.path()); err != nil {
		t.Fatalf("%v: make interop builds it", err)
	}
	return c
}

func (c *cosign) path() string {
	return filepath.Join(os.Getenv("ABUPDATE_COSIGN"), c.version, "cosign")
}

func (c *cosign) try(args ...string) (string, error) {
	cmd := exec.CommandContext(c.t.Context(), c.path(), args...)
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "HOME="+c.dir, "COSIGN_PASSWORD="+password)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *cosign) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("cosign %s %s: %v\n%s", c.version, strings.Join(args, " "), err, out)
	}
	return out
}

// generate makes a key pair as cosign does, and returns the files' prefix.
func (c *cosign) generate() string {
	c.t.Helper()
	prefix := filepath.Join(c.dir, "cosign-"+c.version)
	c.run("generate-key-pair", "--output-key-prefix", prefix)
	return prefix
}

// sign signs without a transparency log.
func (c *cosign) sign(form, key, image string) {
	c.t.Helper()
	args := []string{"sign", "--key", key, "--allow-http-registry", "-y"}
	switch {
	case c.version == "v3":
		config := filepath.Join(c.dir, "signing-config.json")
		c.run("signing-config", "create", "--out", config)
		args = append(args, "--signing-config="+config)
	case form == "bundle":
		args = append(args, "--tlog-upload=false", "--new-bundle-format")
	default:
		args = append(args, "--tlog-upload=false")
	}
	c.run(append(args, image)...)
}

func (c *cosign) verify(public, image string) (string, error) {
	args := []string{"verify", "--key", public, "--insecure-ignore-tlog", "--private-infrastructure", "--allow-http-registry", image}
	return c.try(args...)
}

// serve starts a registry, with or without the referrers' API, and pushes an
// update to it.
func serve(t *testing.T, referrers bool) (ref, digest string) {
	t.Helper()
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(referrers)))
	t.Cleanup(s.Close)
	dir := ut.Layout(t, map[string]ut.Image{"v1": {Version: "1.0"}})
	ref = strings.TrimPrefix(s.URL, "http://") + "/os-update:1.0"
	built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + dir + ":v1", Push: ref, TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return ref, built.Digest
}

// pinned is a reference by digest.
func pinned(ref, digest string) string { return strings.TrimSuffix(ref, ":1.0") + "@" + digest }

// ourKey makes a key pair as abupdate key generate does.
func ourKey(t *testing.T, a keys.Algorithm, pass []byte) (k *keys.Private, prefix string) {
	t.Helper()
	k, err := keys.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	private, err := k.PEM(pass)
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicPEM()
	if err != nil {
		t.Fatal(err)
	}
	prefix = filepath.Join(t.TempDir(), "ours")
	for name, b := range map[string][]byte{prefix + ".key": private, prefix + ".pub": public} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return k, prefix
}

// What build signs, cosign verifies; with another key it does not.
func TestCosignVerifiesOurs(t *testing.T) {
	for _, referrers := range []bool{false, true} {
		ref, digest := serve(t, referrers)
		for _, a := range []keys.Algorithm{keys.P256, keys.Ed25519} {
			k, prefix := ourKey(t, a, nil)
			if _, err := updater.Sign(t.Context(), ref, []*keys.Private{k}, oci.Options{}); err != nil {
				t.Fatal(err)
			}
			_, stranger := ourKey(t, a, nil)
			for _, v := range versions {
				c := newCosign(t, v)
				if out, err := c.verify(prefix+".pub", pinned(ref, digest)); err != nil || !strings.Contains(out, digest) {
					t.Errorf("cosign %s of %s, referrers %v: %v\n%s", v, a, referrers, err, out)
				}
				if out, err := c.verify(stranger+".pub", pinned(ref, digest)); err == nil {
					t.Errorf("cosign %s takes another %s key:\n%s", v, a, out)
				}
			}
		}
	}
}

// What cosign signs, an apply takes.
func TestWeVerifyCosigns(t *testing.T) {
	for _, tt := range []struct{ version, form string }{{"v2", "simple"}, {"v2", "bundle"}, {"v3", "bundle"}} {
		for _, referrers := range []bool{false, true} {
			ref, digest := serve(t, referrers)
			c := newCosign(t, tt.version)
			prefix := c.generate()
			c.sign(tt.form, prefix+".key", pinned(ref, digest))
			_, stranger := ourKey(t, keys.P256, nil)
			for _, name := range []string{prefix, stranger} {
				ring, err := updater.ReadKeyring(nil, []string{name + ".pub"})
				if err != nil {
					t.Fatal(err)
				}
				in, err := updater.Look(t.Context(), ref, updater.LookOptions{Keyring: ring})
				if err != nil {
					t.Fatal(err)
				}
				if len(in.SignatureList) != 1 || in.SignatureList[0].Kind != tt.form || (in.SignedBy != "") != (name == prefix) {
					t.Errorf("cosign %s, %s, referrers %v: %+v, signed by %q; want one, by %s",
						tt.version, tt.form, referrers, in.SignatureList, in.SignedBy, prefix)
				}
				disk := ut.EmptyDisk(t)
				sys, err := updater.Open(updater.OpenOptions{Disk: disk, Access: updater.Change, Trust: []string{name + ".pub"}})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref}); (err == nil) != (name == prefix) {
					t.Errorf("cosign %s, %s, referrers %v: Apply() with %s = %v", tt.version, tt.form, referrers, name, err)
				}
				sys.Close()
			}
		}
	}
}

// Each takes the other's private keys.
func TestPrivateKeys(t *testing.T) {
	for _, v := range versions {
		c := newCosign(t, v)
		text, err := os.ReadFile(c.generate() + ".key")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.Parse(v, text, func() ([]byte, bool) { return []byte(password), true }); err != nil {
			t.Errorf("a key of cosign %s: %v", v, err)
		}
		ref, digest := serve(t, true)
		_, prefix := ourKey(t, keys.P256, []byte(password))
		c.sign("simple", prefix+".key", pinned(ref, digest))
		if out, err := c.verify(prefix+".pub", pinned(ref, digest)); err != nil {
			t.Errorf("cosign %s with a key of ours: %v\n%s", v, err, out)
		}
	}
}
