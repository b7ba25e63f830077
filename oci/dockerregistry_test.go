package oci_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// listening is how Debian's registry says where it does.
var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// dockerRegistry starts the registry of Debian's package on loopback; auth is
// part of its configuration.
func dockerRegistry(t *testing.T, auth string) (host string) {
	t.Helper()
	bin, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Fatal("docker-registry is missing: install the Debian package docker-registry")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: %s\nhttp:\n  addr: 127.0.0.1:0\n%s", dir, auth)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", config)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	lines := bufio.NewScanner(r)
	var log strings.Builder
	for host == "" && lines.Scan() {
		log.WriteString(lines.Text() + "\n")
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			host = m[1]
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { // or it would stop at a full pipe
		for lines.Scan() {
			log.WriteString(lines.Text() + "\n")
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		wg.Wait()
		r.Close()
		if t.Failed() {
			t.Logf("the registry's log:\n%s", log.String())
		}
	})
	if host == "" {
		t.Fatal("docker-registry does not say where it listens")
	}
	return host
}

// TestDockerRegistry pushes an image and two updates of it to a registry that
// has no list of referrers, and reads them back.
func TestDockerRegistry(t *testing.T) {
	host := dockerRegistry(t, "")
	repo := host + "/a/os"
	l := newLayout(t)
	image := tagged(l.image(runtime.GOARCH, types.OCILayer, packed, tarsOf(t, [][]item{{big(), file("a", "old")}, {wh(".wh.big"), file("a", "new")}})...), "os")
	l.index(image)
	image.Annotations = nil
	one := writeUpdate(t, l.dir, "one", rangesBody, true, &image)
	two := writeUpdate(t, l.dir, "two", "other", true, &image)
	for _, tag := range []string{"os", "one", "two"} {
		push(t, "oci:"+l.dir+":"+tag, repo+":"+tag)
	}
	push(t, "oci:"+l.dir+":two", repo+":two") // once more changes nothing
	got, err := (&server{}).read(t, repo+":os", oci.Options{})
	if diff := cmp.Diff([]string{"f a new"}, got); err != nil || diff != "" {
		t.Errorf("error %v, image (-want +got):\n%s", err, diff)
	}
	checkUpdate(t, repo+":one", one, rangesBody)
	checkUpdate(t, "docker://"+repo+"@"+two, two, "other")
	size := int64(len(rangesBody))
	for _, at := range [][2]int64{{0, 1}, {0, size}, {4096, 8192}, {size - 1, 1}} {
		if got, err := piece(t, repo+":one", at[0], at[1]); err != nil || got != rangesBody[at[0]:at[0]+at[1]] {
			t.Errorf("%d bytes at %d: got %d bytes, %v", at[1], at[0], len(got), err)
		}
	}
	img, err := resolve(t, repo+":os", oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := inOrder([]string{one, two})
	if diff := cmp.Diff(want, inOrder(referrers(t, img, manifest.ArtifactType))); diff != "" {
		t.Errorf("referrers (-want +got):\n%s", diff)
	}
	_, err = resolve(t, repo+":sha256-"+image.Digest.Hex, oci.Options{})
	if err == nil || fault.KindOf(err) == fault.Network { // the list is there, and no image
		t.Errorf("the list of referrers as an image: error %v", err)
	}
	for ref, want := range map[string]string{repo + ":no": "no such image", host + "/no:v1": "no such image", repo + "@" + digestA: "no such image"} {
		_, err := resolve(t, ref, oci.Options{})
		wantError(t, err, want, fault.Usage)
	}
}

// TestDockerRegistryPassword gives credentials in a file.
func TestDockerRegistryPassword(t *testing.T) {
	dir := t.TempDir()
	users := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(users, []byte("u:$2a$04$GO/81b0b5nLM71U8gxEFdu4hNRWj.QnbE6wtoL/n.L7vuwpsPX6hW\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := dockerRegistry(t, "auth:\n  htpasswd:\n    realm: here\n    path: "+users+"\n")
	l := newLayout(t)
	l.index(l.image(runtime.GOARCH, types.OCILayer, packed, tarOf(t, file("a", "new"))))
	local, err := oci.ParseReference("oci:" + l.dir)
	if err != nil {
		t.Fatal(err)
	}
	to, err := oci.ParseReference(host + "/os:v1")
	if err != nil {
		t.Fatal(err)
	}
	auth := filepath.Join(dir, "auth.json")
	opt := oci.Options{AuthFile: auth}
	for _, tt := range []struct{ password, want string }{{"p:q", ""}, {"wrong", "wants other credentials"}} {
		secret := base64.StdEncoding.EncodeToString([]byte("u:" + tt.password))
		if err := os.WriteFile(auth, []byte(`{"auths":{"`+host+`":{"auth":"`+secret+`"}}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		_, pushErr := oci.Push(t.Context(), local, to, opt)
		_, pullErr := (&server{}).read(t, to.String(), opt)
		for what, err := range map[string]error{"push": pushErr, "pull": pullErr} {
			if tt.want == "" && err != nil {
				t.Errorf("%s with the right password: %v", what, err)
			} else if tt.want != "" {
				wantError(t, err, tt.want, fault.Network)
			}
		}
	}
}
