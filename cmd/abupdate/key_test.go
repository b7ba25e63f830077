package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// generate makes a key pair and returns the prefix of its files.
func generate(t *testing.T, args ...string) string {
	t.Helper()
	prefix := filepath.Join(t.TempDir(), "vendor")
	must(t, append([]string{"key", "generate", "-o", prefix}, args...)...)
	return prefix
}

func TestKeyGenerate(t *testing.T) {
	for _, tt := range []struct {
		name, password string
		args           []string
		begins         string // of the private key
	}{
		{"plain", "", nil, "-----BEGIN PRIVATE KEY-----"},
		{"Ed25519", "", []string{"--type", "ed25519"}, "-----BEGIN PRIVATE KEY-----"},
		{"encrypted", "secret", nil, "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.password != "" {
				t.Setenv("COSIGN_PASSWORD", tt.password)
			}
			prefix := generate(t, tt.args...)
			text, err := os.ReadFile(prefix + ".key")
			if err != nil || !strings.HasPrefix(string(text), tt.begins) {
				t.Errorf("private key is %q, %v; want %s", text, err, tt.begins)
			}
			if st, err := os.Stat(prefix + ".key"); err != nil || st.Mode() != 0o600 {
				t.Errorf("private key has mode %v, %v; want 0600", st.Mode(), err)
			}
			public, err := os.ReadFile(prefix + ".pub")
			if err != nil {
				t.Fatal(err)
			}
			if got := must(t, "key", "public", prefix+".key"); got != string(public) {
				t.Errorf("key public prints %q; want %q", got, public)
			}
			for _, file := range []string{".key", ".pub"} {
				if err := os.Remove(prefix + file); err != nil {
					t.Fatal(err)
				}
				code, _, errs := abupdate(t, "key", "generate", "-o", prefix)
				if code != 2 || !strings.Contains(errs, "there already") {
					t.Errorf("generate beside an old file = %d, %q; want 2", code, errs)
				}
				if entries, _ := os.ReadDir(filepath.Dir(prefix)); len(entries) != 1 {
					t.Errorf("it left %v; want the one file that was there", entries)
				}
				must(t, "key", "generate", "-o", filepath.Join(t.TempDir(), "other"))
				if file == ".key" { // both again, for the other order
					if err := os.Remove(prefix + ".pub"); err != nil {
						t.Fatal(err)
					}
					must(t, "key", "generate", "-o", prefix)
				}
			}
		})
	}
}

func TestKeyErrors(t *testing.T) {
	t.Setenv("COSIGN_PASSWORD", "right")
	locked := generate(t)
	os.Unsetenv("COSIGN_PASSWORD")
	open := generate(t)
	for _, tt := range []struct {
		name, password string
		args           []string
		want           string
	}{
		{"no such type", "", []string{"key", "generate", "--type", "rsa", "-o", filepath.Join(t.TempDir(), "x")}, "rsa"},
		{"nobody to ask", "", []string{"key", "generate", "--encrypt", "-o", filepath.Join(t.TempDir(), "x")}, "no terminal"},
		{"no such folder", "", []string{"key", "generate", "-o", "/nonexistent/x"}, "/nonexistent/x"},
		{"no such key", "", []string{"key", "public", "/nonexistent"}, "/nonexistent"},
		{"a public key", "", []string{"key", "public", open + ".pub"}, `"PUBLIC KEY"`},
		{"no password", "", []string{"key", "public", locked + ".key"}, "COSIGN_PASSWORD is not set"},
		{"wrong password", "wrong", []string{"key", "public", locked + ".key"}, "the password is wrong"},
		{"sign with nothing", "", []string{"sign", "oci:x"}, "no --sign-key"},
		{"build with no such key", "", []string{"build", "oci:x", "-o", "y", "--sign-key", "/nonexistent"}, "/nonexistent"},
		{"trust nothing", "", []string{"inspect", "oci:x", "--trust", "/nonexistent"}, "/nonexistent"},
		{"endorse with no key", "", []string{"key", "endorse", open + ".pub", "-o", "x.keys"}, "one --sign-key"},
		{"endorse what is no key", "", []string{"key", "endorse", open + ".key", "--sign-key", open + ".key", "-o", "x.keys"}, `"PRIVATE KEY"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.password != "" {
				t.Setenv("COSIGN_PASSWORD", tt.password)
			}
			if code, _, errs := abupdate(t, tt.args...); code != 2 || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("exit code %d, stderr %q; want 2, and one line with %q", code, errs, tt.want)
			}
		})
	}
}

// From a key to a device that takes only what it signed, and to the next key.
func TestSignedUpdate(t *testing.T) {
	dir := testImages(t)
	first, next := generate(t), generate(t, "--type", "ed25519")
	work := t.TempDir()
	updates, trusted := filepath.Join(work, "updates"), filepath.Join(work, "trust.d")
	if err := os.Mkdir(trusted, 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, first+".pub", filepath.Join(trusted, "first.pub"))
	must(t, "build", "oci:"+dir+":v2", "-o", updates, "--sign-key", first+".key")
	must(t, "build", "oci:"+dir+":v1", "-o", updates, "--tag", "again")

	if out := must(t, "inspect", "oci:"+updates+":2.0"); !strings.Contains(out, "1, not checked") {
		t.Errorf("inspect without keys: %s", out)
	}
	if out := must(t, "inspect", "oci:"+updates+":2.0", "--trust", trusted); !strings.Contains(out, "1, signed by "+trusted+"/first.pub") {
		t.Errorf("inspect: %s", out)
	}
	disk := ut.Disk(t, "oci:"+dir+":v1")
	code, _, errs := abupdate(t, "apply", "oci:"+updates+":again", "--disk", disk, "--trust", trusted, "--allow-same")
	if code != 4 || !strings.Contains(errs, "unsigned") {
		t.Errorf("apply of an unsigned update = %d, %q; want 4", code, errs)
	}
	if out := must(t, "apply", "oci:"+updates+":2.0", "--disk", disk, "--trust", trusted); !strings.Contains(out, "signed by") {
		t.Errorf("apply: %s", out)
	}
	for _, command := range []string{"status", "verify"} {
		out := must(t, command, "--disk", disk, "--trust", trusted)
		if !strings.Contains(out, "signed by "+trusted+"/first.pub") || !strings.Contains(out, "none") {
			t.Errorf("%s: %s; want b signed, a not", command, out)
		}
	}

	// The next key: only it signs now, and a list by the first brings it.
	must(t, "sign", "oci:"+updates+":again", "--sign-key", next+".key")
	if code, _, errs := abupdate(t, "apply", "oci:"+updates+":again", "--disk", disk, "--trust", trusted, "--dry-run"); code != 4 {
		t.Errorf("apply of what the next key signed = %d, %q; want 4", code, errs)
	}
	must(t, "key", "endorse", next+".pub", "--sign-key", first+".key", "-o", filepath.Join(trusted, "next.keys"))
	out := must(t, "inspect", "oci:"+updates+":again", "--trust", trusted, "--json")
	if !strings.Contains(out, "a key list by") {
		t.Errorf("inspect with the list: %s", out)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
