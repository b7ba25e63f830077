package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/abupdate/abupdate/internal/debianimage"
)

// An upgrade is one system in three versions: as Debian released it, with all
// updates since, and with a small change on top.
type upgrade struct {
	Key      string `json:"key"`
	Packages int    `json:"packages"` // of the first version
	Changed  int    `json:"changed"`  // of them, in the second

	dir string
}

// The versions, which are tags and names of tars.
const (
	released = "v1"
	upgraded = "v2"
	patched  = "v3"
)

func (u *upgrade) tar(version string) string { return filepath.Join(u.dir, version+".tar") }

// image is the reference of a version as an ordinary image.
func (u *upgrade) image(version string) string {
	return "oci:" + filepath.Join(u.dir, "images-"+version) + ":" + tag
}

// upgradePackages are those of the root, with the kernel for virtual machines.
func upgradePackages() []string {
	names := append([]string{}, debianPackages...)
	for i, name := range names {
		if name == "linux-image-"+runtime.GOARCH {
			names[i] = "linux-image-cloud-" + runtime.GOARCH
		}
	}
	return names
}

// openUpgrade returns the versions, and makes them when they are not there.
func openUpgrade(ctx context.Context, cache string, log io.Writer) (*upgrade, error) {
	dir := filepath.Join(cache, "upgrade")
	file := filepath.Join(dir, "upgrade.json")
	u := &upgrade{dir: dir}
	wanted := "2 " + strings.Join(upgradePackages(), " ")
	if b, err := os.ReadFile(file); err == nil && json.Unmarshal(b, u) == nil && u.Key == wanted {
		return u, nil
	}
	u = &upgrade{Key: wanted, dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making versions: %w", err)
	}
	for _, version := range []string{released, upgraded} {
		fmt.Fprintf(log, "making version %s of a Debian root with mmdebstrap\n", version)
		opt := debianimage.Options{CacheDir: dir, Log: io.Discard, Released: version == released, Whole: true}
		if err := debianimage.WriteTar(ctx, u.tar(version), upgradePackages(), opt); err != nil {
			return nil, fmt.Errorf("making versions: %w", err)
		}
	}
	if err := u.finish(ctx); err != nil {
		return nil, fmt.Errorf("making versions: %w", err)
	}
	return u, writeJSON(file, u)
}

// finish makes the third version, and images of all.
func (u *upgrade) finish(ctx context.Context) error {
	if err := u.patch(ctx); err != nil {
		return err
	}
	for _, version := range []string{released, upgraded, patched} {
		root, err := os.Open(u.tar(version))
		if err != nil {
			return err
		}
		if _, err := writeLayout(filepath.Join(u.dir, "images-"+version), root, gzip.BestSpeed); err != nil {
			return err
		}
	}
	old, err := packagesOf(u.tar(released))
	if err != nil {
		return err
	}
	now, err := packagesOf(u.tar(upgraded))
	if err != nil {
		return err
	}
	u.Packages = len(old)
	for name, version := range old {
		if now[name] != version {
			u.Changed++
		}
	}
	return nil
}

// patch writes the third version: the second with one more program, one more
// file and the first one's C library.
func (u *upgrade) patch(ctx context.Context) error {
	library, err := member(u.tar(released), libc)
	if err != nil {
		return err
	}
	program, err := largeProgram(ctx)
	if err != nil {
		return err
	}
	out, err := os.Create(u.tar(patched))
	if err != nil {
		return err
	}
	defer out.Close()
	tw := tar.NewWriter(out)
	err = eachMember(u.tar(upgraded), func(h *tar.Header, r io.Reader) error {
		if h.Typeflag == tar.TypeReg && path.Clean(h.Name) == libc {
			h.Size, r = int64(len(library)), bytes.NewReader(library)
		}
		return writeMember(tw, h, r)
	})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		mode int64
		text []byte
	}{{"./usr/bin/large-program", 0o755, program}, {"./etc/large-program.conf", 0o644, []byte("new = true\n")}} {
		h := &tar.Header{Name: f.name, Mode: f.mode, Typeflag: tar.TypeReg, Size: int64(len(f.text))}
		if err := writeMember(tw, h, bytes.NewReader(f.text)); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), out.Close())
}

// largeProgram is 19 MB of machine code that every machine with a Go tool chain
// has: of its compiler.
func largeProgram(ctx context.Context) ([]byte, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("looking for the Go tool chain: %w", err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(root)), "pkg", "tool", runtime.GOOS+"_"+runtime.GOARCH, "compile"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, 19e6))
}

// libc is where Debian has the C library.
var libc = "usr/lib/" + map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH] + "-linux-gnu/libc.so.6"

func writeMember(tw *tar.Writer, h *tar.Header, r io.Reader) error {
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(tw, r)
	return err
}

// eachMember calls do for each member of a tar.
func eachMember(file string, do func(h *tar.Header, r io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = do(h, tr)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
	}
}

// member returns what a regular file in a tar holds.
func member(file, name string) (text []byte, err error) {
	found := false
	err = eachMember(file, func(h *tar.Header, r io.Reader) (err error) {
		if h.Typeflag == tar.TypeReg && path.Clean(h.Name) == name {
			found = true
			text, err = io.ReadAll(r)
		}
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("reading %s: there is no file %s", file, name)
	}
	return text, err
}

// packagesOf lists what dpkg has in a tar, by name.
func packagesOf(file string) (map[string]string, error) {
	status, err := member(file, "var/lib/dpkg/status")
	if err != nil {
		return nil, err
	}
	versions := make(map[string]string)
	var name string
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "Package: "); ok {
			name = strings.TrimSpace(v)
		}
		if v, ok := strings.CutPrefix(line, "Version: "); ok {
			versions[name] = strings.TrimSpace(v)
		}
	}
	return versions, nil
}
