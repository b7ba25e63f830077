package main

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// tlsServer serves files over TLS and returns its host, and its certificate in
// a file.
func tlsServer(t *testing.T, h http.Handler) (host, ca string) {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(srv.URL, "https://"), ca
}

// config makes a configuration directory.
func config(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestApplyFromAWebServer takes an update from a layout on a web server whose
// certificate only the configuration knows, with a password, and its mirror.
func TestApplyFromAWebServer(t *testing.T) {
	updates := filepath.Join(t.TempDir(), "updates")
	must(t, "build", "oci:"+testImages(t)+":v2", "-o", updates, "--tag", "v2")
	var locked atomic.Int32
	files := http.FileServer(http.Dir(updates))
	host, ca := tlsServer(t, http.StripPrefix("/os", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "u" || pass != "p" {
			locked.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		files.ServeHTTP(w, r)
	})))
	hostConfig := fmt.Sprintf("[registries.%q]\nca = %q\n", host, ca)
	auth := fmt.Sprintf(`{"auths":{%q:{"username":"u","password":"p"}}}`, host)
	for _, tt := range []struct {
		name, ref string
		files     map[string]string
		code      int
		want      string // on stderr
	}{
		{"without the certificate", "https://" + host + "/os:v2", nil, 3, "certificate"},
		{"without the password", "https://" + host + "/os:v2", map[string]string{"config.toml": hostConfig}, 3, "the server wants other credentials"},
		{"with both", "https://" + host + "/os:v2", map[string]string{"config.toml": hostConfig, "auth.json": auth}, 0, ""},
		{"of a mirror", "https://no.example/:v2", map[string]string{
			"config.toml": hostConfig + "[registries.\"no.example\"]\nmirrors = [\"" + host + "/os\"]\n", "auth.json": auth,
		}, 0, ""},
		{"no such certificate", "https://" + host + "/os:v2", map[string]string{"config.toml": strings.Replace(hostConfig, "ca.pem", "no.pem", 1)}, 2, "reading the CA of " + host},
		{"bad configuration", "https://" + host + "/os:v2", map[string]string{"config.toml": "retry_for = 3x"}, 2, "config.toml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := ut.Disk(t, "oci:"+testImages(t)+":v1")
			code, out, errs := abupdate(t, "apply", tt.ref, "--disk", disk, "--config", config(t, tt.files), "--quiet")
			if code != tt.code || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") > 1 {
				t.Fatalf("exit code %d, stderr %q; want %d, %q", code, errs, tt.code, tt.want)
			}
			if code == 0 && !strings.Contains(out, "version 2.0 is in slot b") {
				t.Errorf("stdout %q", out)
			}
		})
	}
	if locked.Load() == 0 {
		t.Error("nobody was asked for a password")
	}
}

// TestApplyByImage names an image, and gets the update that is beside it.
func TestApplyByImage(t *testing.T) {
	layout := copyLayout(t, testImages(t))
	must(t, "build", "oci:"+layout+":v2", "-o", layout, "--tag", "v2-update")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "found beside it"},
		{[]string{"--flatten"}, ""},
	} {
		disk := ut.Disk(t, "oci:"+testImages(t)+":v1")
		out := must(t, append([]string{"apply", "oci:" + layout + ":v2", "--disk", disk}, tt.args...)...)
		if !strings.Contains(out, "version 2.0 is in slot b") || strings.Contains(out, "found beside it") != (tt.want != "") {
			t.Errorf("apply %q prints %q", tt.args, out)
		}
	}
	if out := must(t, "inspect", "oci:"+layout+":v2"); !strings.Contains(out, "referrer") || !strings.Contains(out, "application/vnd.abupdate.update.v1  2.0") {
		t.Errorf("inspect prints %q", out)
	}
}

func TestNetworkFlags(t *testing.T) {
	for _, tt := range []struct{ flag, want string }{
		{"--retry-for=-1s", "--retry-for -1s"},
		{"--retry-for=soon", "invalid argument"},
		{"--limit-rate=fast", "invalid argument"},
		{"--low-speed=-5", "invalid argument"},
	} {
		if code, _, errs := abupdate(t, "inspect", "oci:"+testImages(t)+":v1", tt.flag); code != 2 || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: exit code %d, stderr %q; want 2 and %q", tt.flag, code, errs, tt.want)
		}
	}
	must(t, "inspect", "oci:"+testImages(t)+":v1", "--retry-for=2h", "--limit-rate=1M/s", "--low-speed=5K")
}
