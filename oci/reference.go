package oci

import (
	"net"
	"net/url"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A Transport says where an image lies.
type Transport string

// The transports, spelled as skopeo and bootc spell them.
const (
	Registry      Transport = "docker"
	Layout        Transport = "oci"
	Archive       Transport = "oci-archive"
	DockerArchive Transport = "docker-archive"
)

// Two more are layouts that a web server has.
const (
	Web      Transport = "https"
	PlainWeb Transport = "http"
)

// A Reference names an image. Only ParseReference makes valid ones.
type Reference struct {
	Transport Transport
	// Path is the directory or file of a local image, HOST[:PORT]/PATH of a
	// layout on a web server.
	Path string
	// Tag picks one of several images in a local place: a ref.name annotation
	// of a layout, a repository tag of a docker-archive, or "@N" for the N-th.
	Tag string
	// Digest pins the image's manifest ("sha256:..."), or is "".
	Digest string

	remote name.Reference
}

const forms = "docker://HOST/REPO:TAG, oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE or https://HOST/PATH[:TAG]"

// ParseReference parses the forms that skopeo and bootc write:
//
//	docker://HOST/REPO[:TAG][@DIGEST]  also registry:..., or bare when it starts with a host
//	oci:DIR[:TAG]  oci:DIR@DIGEST      a directory with an OCI image layout
//	oci-archive:FILE[:TAG]             a tar of such a directory
//	docker-archive:FILE[:REPO:TAG]     what docker save writes
//	https://HOST/PATH[:TAG] or @DIGEST a layout's directory on a web server
//
// As in skopeo a local path holds no colon.
func ParseReference(s string) (Reference, error) {
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			return Reference{}, fault.Errorf(fault.Usage, "image reference %q holds a control character", s)
		}
	}
	scheme, rest, found := strings.Cut(s, ":")
	switch {
	case s == "":
		return Reference{}, fault.Errorf(fault.Usage, "image reference is empty; want %s", forms)
	case !found:
		return parseBare(s)
	}
	switch scheme {
	case "docker":
		rest, found = strings.CutPrefix(rest, "//")
		if !found {
			return Reference{}, fault.Errorf(fault.Usage, "image reference %q: docker: is followed by // and a registry", s)
		}
		return parseRegistry(s, rest)
	case "registry":
		return parseRegistry(s, strings.TrimPrefix(rest, "//"))
	case string(Layout), string(Archive), string(DockerArchive):
		return parseLocal(s, Transport(scheme), rest)
	case string(Web), string(PlainWeb):
		return parseWeb(s, Transport(scheme), rest)
	case "containers-storage", "docker-daemon", "dir", "sif", "tarball", "ostree", "atomic", "file":
		return Reference{}, fault.Errorf(fault.Usage, "image reference %q: transport %s is not supported; want %s", s, scheme, forms)
	}
	if strings.HasPrefix(rest, "//") {
		return Reference{}, fault.Errorf(fault.Usage, "image reference %q: transport %s is not supported; want %s", s, scheme, forms)
	}
	return parseBare(s)
}

// parseBare takes s for a registry's image when its first part is a host. A
// name without one ("debian:12") is more often a typing error than a wish for
// Docker Hub, on a device most of all.
func parseBare(s string) (Reference, error) {
	host, _, slash := strings.Cut(s, "/")
	switch {
	case !slash || host == "" || host == "." || host == "..":
		return Reference{}, fault.Errorf(fault.Usage, "image reference %q names no registry and no transport; want %s", s, forms)
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return Reference{}, fault.Errorf(fault.Usage, "image reference %q: %q is not a registry host; write docker://%s for Docker Hub, or %s", s, host, s, forms)
	}
	return parseRegistry(s, s)
}

func parseRegistry(s, rest string) (Reference, error) {
	if rest == "" {
		return Reference{}, fault.Errorf(fault.Usage, "image reference %q names no image", s)
	}
	// name.ParseReference would do, but does not say what is wrong.
	if strings.Contains(rest, "@") {
		d, err := name.NewDigest(rest)
		if err != nil {
			return Reference{}, fault.Errorf(fault.Usage, "image reference %q: %w", s, err)
		}
		return Reference{Transport: Registry, Digest: d.DigestStr(), remote: d}, nil
	}
	tag, err := name.NewTag(rest)
	if err != nil {
		return Reference{}, fault.Errorf(fault.Usage, "image reference %q: %w", s, err)
	}
	return Reference{Transport: Registry, Tag: tag.TagStr(), remote: tag}, nil
}

func parseLocal(s string, t Transport, rest string) (Reference, error) {
	path, tag, _ := strings.Cut(rest, ":")
	r := Reference{Transport: t, Path: path, Tag: tag}
	if p, algorithm, ok := cutLast(path, "@"); ok && tag != "" {
		h, err := v1.NewHash(algorithm + ":" + tag)
		if err != nil {
			return Reference{}, fault.Errorf(fault.Usage, "image reference %q: %w", s, err)
		}
		r = Reference{Transport: t, Path: p, Digest: h.String()}
	}
	if r.Path == "" {
		return Reference{}, fault.Errorf(fault.Usage, "image reference %q names no path", s)
	}
	return r, nil
}

// parseWeb reads what comes after the scheme. As in a local path there is no
// colon in PATH.
func parseWeb(s string, t Transport, rest string) (Reference, error) {
	bad := func(why string) (Reference, error) {
		return Reference{}, fault.Errorf(fault.Usage, "image reference %q: %s", s, why)
	}
	rest, ok := strings.CutPrefix(rest, "//")
	host, path, _ := strings.Cut(rest, "/")
	switch {
	case !ok || host == "":
		return bad("https: is followed by // and a host")
	case strings.Contains(host, "@"):
		return bad("credentials belong into auth.json, not here")
	case strings.ContainsAny(rest, "?#"):
		return bad("a layout's address has no ? and #")
	}
	if u, err := url.Parse(string(t) + "://" + host); err != nil || u.Hostname() == "" {
		return bad("the host is not one")
	}
	r, err := parseLocal(s, t, "/"+path)
	if err != nil {
		return r, err
	}
	r.Path = host + strings.TrimRight(r.Path, "/")
	if _, err := url.Parse(string(t) + "://" + r.Path); err != nil {
		return bad("the path is not one of a URL")
	}
	return r, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// String returns the reference in a form that ParseReference takes.
func (r Reference) String() string {
	place := string(r.Transport) + ":" + r.Path
	switch {
	case r.Transport == Registry && r.remote != nil:
		return "docker://" + r.remote.String()
	case r.web():
		place = string(r.Transport) + "://" + r.Path
		if r.Tag+r.Digest != "" && !strings.Contains(r.Path, "/") {
			place += "/" // a colon there would begin a port
		}
	}
	switch {
	case r.Digest != "":
		return place + "@" + r.Digest
	case r.Tag != "":
		return place + ":" + r.Tag
	}
	return place
}

// Local reports whether the image is read from this machine's files.
func (r Reference) Local() bool { return r.Transport != Registry && !r.web() }

func (r Reference) web() bool { return r.Transport == Web || r.Transport == PlainWeb }

// WithDigest returns r pinned to a manifest digest. A docker-archive has none
// of its own and stays as it is.
func (r Reference) WithDigest(digest string) Reference {
	switch r.Transport {
	case DockerArchive:
		return r
	case Registry:
		r.remote = r.remote.Context().Digest(digest)
	}
	r.Tag, r.Digest = "", digest
	return r
}

// isLoopback reports whether hostport names this machine itself, where plain
// HTTP leaves nothing to listen in on.
func isLoopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
