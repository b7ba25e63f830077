package oci_test

import (
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
)

const digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestParseReference(t *testing.T) {
	for _, tt := range []struct{ in, want, path, tag, digest string }{
		{"docker://quay.io/fedora/fedora-bootc:42", "docker://quay.io/fedora/fedora-bootc:42", "", "42", ""},
		{"docker://quay.io/a/b", "docker://quay.io/a/b", "", "latest", ""},
		{"docker://debian:12", "docker://debian:12", "", "12", ""},
		{"docker://localhost:5000/a@" + digestA, "docker://localhost:5000/a@" + digestA, "", "", digestA},
		{"docker://quay.io/a/b:tag@" + digestA, "docker://quay.io/a/b:tag@" + digestA, "", "", digestA},
		{"registry:quay.io/a/b:1", "docker://quay.io/a/b:1", "", "1", ""},
		{"quay.io/a/b:1", "docker://quay.io/a/b:1", "", "1", ""},
		{"10.0.2.100:5000/demo:v1", "docker://10.0.2.100:5000/demo:v1", "", "v1", ""},
		{"localhost/a", "docker://localhost/a", "", "latest", ""},
		{"[::1]:5000/a:1", "docker://[::1]:5000/a:1", "", "1", ""},
		{"oci:dir", "oci:dir", "dir", "", ""},
		{"oci:/tmp/x y:v1", "oci:/tmp/x y:v1", "/tmp/x y", "v1", ""},
		{"oci:dir:quay.io/a/b:v1", "oci:dir:quay.io/a/b:v1", "dir", "quay.io/a/b:v1", ""},
		{"oci:a@b", "oci:a@b", "a@b", "", ""},
		{"oci:dir@" + digestA, "oci:dir@" + digestA, "dir", "", digestA},
		{"oci-archive:a.tar:@1", "oci-archive:a.tar:@1", "a.tar", "@1", ""},
		{"docker-archive:a.tar:debian:12", "docker-archive:a.tar:debian:12", "a.tar", "debian:12", ""},
		{"https://h.example/os", "https://h.example/os", "h.example/os", "", ""},
		{"https://h.example/a/os/", "https://h.example/a/os", "h.example/a/os", "", ""},
		{"https://h.example", "https://h.example", "h.example", "", ""},
		{"https://h.example/:v1", "https://h.example/:v1", "h.example", "v1", ""},
		{"https://h.example:8443/os:v1", "https://h.example:8443/os:v1", "h.example:8443/os", "v1", ""},
		{"https://h.example/os:quay.io/a/b:v1", "https://h.example/os:quay.io/a/b:v1", "h.example/os", "quay.io/a/b:v1", ""},
		{"https://h.example/os@" + digestA, "https://h.example/os@" + digestA, "h.example/os", "", digestA},
		{"http://[::1]:80/os:v1", "http://[::1]:80/os:v1", "[::1]:80/os", "v1", ""},
		{"https://h.example/@0", "https://h.example/@0", "h.example/@0", "", ""},
	} {
		ref, err := oci.ParseReference(tt.in)
		if err != nil {
			t.Errorf("ParseReference(%q): %v", tt.in, err)
			continue
		}
		if got := ref.String(); got != tt.want {
			t.Errorf("ParseReference(%q) = %q; want %q", tt.in, got, tt.want)
		}
		if ref.Path != tt.path || ref.Tag != tt.tag || ref.Digest != tt.digest {
			t.Errorf("ParseReference(%q) = path %q tag %q digest %q; want %q %q %q", tt.in, ref.Path, ref.Tag, ref.Digest, tt.path, tt.tag, tt.digest)
		}
		if again, err := oci.ParseReference(ref.String()); err != nil || again.String() != ref.String() {
			t.Errorf("ParseReference(%q) again = %v, %v; want %v", ref, again, err, ref)
		}
	}
}

func TestParseReferenceErrors(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", "is empty"},
		{"image.tar", "names no registry and no transport"},
		{"./dir", "names no registry and no transport"},
		{"/var/dir", "names no registry and no transport"},
		{"debian:12", "names no registry and no transport"},
		{"library/debian:12", `"library" is not a registry host; write docker://library/debian:12`},
		{"docker:quay.io/a", "docker: is followed by //"},
		{"docker://", "names no image"},
		{"docker://quay.io/A", "can only contain the characters"},
		{"docker://quay.io/a@sha256:12", "a@sha256:12"},
		{"quay.io/a:b:c", "quay.io/a:b:c"},
		{"oci:", "names no path"},
		{"oci::tag", "names no path"},
		{"oci:dir@sha256:12", "sha256:12"},
		{"containers-storage:x", "transport containers-storage is not supported"},
		{"ftp://quay.io/a", "transport ftp is not supported"},
		{"https:/h/a", "https: is followed by // and a host"},
		{"https://", "https: is followed by // and a host"},
		{"https:///a", "https: is followed by // and a host"},
		{"https://u:p@h/a", "credentials belong into auth.json"},
		{"https://h/a?b", "has no ? and #"},
		{"https://h/a#b", "has no ? and #"},
		{"https://:80/a", "the host is not one"},
		{"https://h x/a", "the host is not one"},
		{"https://h/a@sha256:12", "sha256:12"},
		{"https://h/a%zz", "the path is not one of a URL"},
		{"oci:a\nb", "control character"},
	} {
		ref, err := oci.ParseReference(tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseReference(%q) = %v, error %v; want one with %q", tt.in, ref, err, tt.want)
		}
		if got := fault.KindOf(err); got != fault.Usage {
			t.Errorf("ParseReference(%q): kind %d; want %d", tt.in, got, fault.Usage)
		}
	}
}

func TestWithDigest(t *testing.T) {
	for in, want := range map[string]string{
		"docker://localhost:5000/a/b:v1": "docker://localhost:5000/a/b@" + digestA,
		"oci:dir:tag":                    "oci:dir@" + digestA,
		"docker-archive:f":               "docker-archive:f",
		"https://h/os:tag":               "https://h/os@" + digestA,
		"https://h":                      "https://h/@" + digestA,
	} {
		ref, err := oci.ParseReference(in)
		if err != nil {
			t.Fatal(err)
		}
		if got := ref.WithDigest(digestA).String(); got != want {
			t.Errorf("%s pinned = %s; want %s", in, got, want)
		}
	}
}

// FuzzParseReference reads what String writes as the same reference.
func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"docker://h.example:5000/a/b:t@" + digestA, "oci:dir:tag", "oci-archive:a@" + digestA, "https://h:1/p:t", "http://[::1]/@" + digestA, "https://h/a//:b", "h.example/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := oci.ParseReference(s)
		if err != nil {
			if fault.KindOf(err) != fault.Usage {
				t.Errorf("ParseReference(%q): kind %d of %v", s, fault.KindOf(err), err)
			}
			return
		}
		again, err := oci.ParseReference(ref.String())
		if err != nil || again.String() != ref.String() || again.Path != ref.Path || again.Tag != ref.Tag || again.Digest != ref.Digest {
			t.Errorf("ParseReference(%q) = %+v; again %+v, %v", s, ref, again, err)
		}
	})
}
