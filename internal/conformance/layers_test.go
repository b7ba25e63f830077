package conformance_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/abupdate/abupdate/internal/debianimage"
)

// A source makes the tar of a layer out of Debian's content.
type source func(ctx context.Context, c *debianimage.Collection, w io.Writer) error

// stamp is the time of entries that no package has.
var stamp = time.Unix(1700000000, 0)

// eachEntry calls fn for the entries of a tar.
func eachEntry(r io.Reader, fn func(*tar.Header, io.Reader) error) error {
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(h, tr); err != nil {
			return err
		}
	}
}

// eachOfFile calls fn for the entries of a tar in a file.
func eachOfFile(file string, fn func(*tar.Header, io.Reader) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := eachEntry(f, fn); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}

// upper is the layer that installing packages with apt made: users, caches
// and capabilities are in it.
func upper(_ context.Context, c *debianimage.Collection, w io.Writer) error {
	f, err := os.Open(c.Upper)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

// packages is a layer of what the packages of a set hold, one after the other:
// directories come many times, and names lead through the symlinks of a merged
// /usr. As in dpkg, no directory takes such a symlink's place. Files in setcap
// get a capability.
func packages(set string, setcap map[string]string) source {
	return func(ctx context.Context, c *debianimage.Collection, w io.Writer) error {
		debs, err := c.Debs(set)
		if err != nil {
			return err
		}
		links := map[string]bool{}
		err = eachOfFile(c.Minimal, func(h *tar.Header, _ io.Reader) error {
			links[path.Clean(h.Name)] = h.Typeflag == tar.TypeSymlink
			return nil
		})
		if err != nil {
			return err
		}
		tw := tar.NewWriter(w)
		for _, deb := range debs {
			if err := addPackage(ctx, tw, deb, links, setcap); err != nil {
				return fmt.Errorf("adding %s: %w", deb, err)
			}
		}
		return tw.Close()
	}
}

func addPackage(ctx context.Context, tw *tar.Writer, deb string, links map[string]bool, setcap map[string]string) error {
	cmd, err := command(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = eachEntry(out, func(h *tar.Header, r io.Reader) error {
		name := path.Clean(h.Name)
		if h.Typeflag == tar.TypeDir && links[name] {
			return nil
		}
		if value := setcap[name]; value != "" {
			h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": value}
		}
		h.Format = tar.FormatPAX
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(tw, r)
		return err
	})
	return errors.Join(err, cmd.Wait())
}

// Capabilities as setcap writes them: version, permitted, inheritable, twice.
const (
	netRaw         = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw=ep
	bpfInheritable = "\x00\x00\x00\x02\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00" // cap_net_admin,cap_bpf=i
)

// entries is a layer of entries that no package has.
func entries(headers ...tar.Header) source {
	return func(_ context.Context, _ *debianimage.Collection, w io.Writer) error {
		tw := tar.NewWriter(w)
		for _, h := range headers {
			content := []byte(nil)
			if h.Typeflag == tar.TypeReg {
				content = []byte("content of " + h.Name + "\n")
			}
			h.Size, h.ModTime, h.Format = int64(len(content)), stamp, tar.FormatPAX
			if err := tw.WriteHeader(&h); err != nil {
				return err
			}
			if _, err := tw.Write(content); err != nil {
				return err
			}
		}
		return tw.Close()
	}
}

// deviceNodes is what MAKEDEV makes, and the ends of what there may be.
func deviceNodes() []tar.Header {
	nodes := []tar.Header{
		{Typeflag: tar.TypeDir, Name: "dev/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "dev/pts/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "dev/shm/", Mode: 0o1777},
		{Typeflag: tar.TypeDir, Name: "dev/disk/", Mode: 0o750, Gid: 6},
		{Typeflag: tar.TypeSymlink, Name: "dev/fd", Linkname: "/proc/self/fd", Mode: 0o777},
		{Typeflag: tar.TypeFifo, Name: "dev/initctl", Mode: 0o600},
		{Typeflag: tar.TypeFifo, Name: "run/spool.fifo", Mode: 0o2622, Uid: 7, Gid: 7},
	}
	for _, n := range []struct {
		kind         byte
		name         string
		mode         int64
		gid          int
		major, minor int64
	}{
		{tar.TypeChar, "null", 0o666, 0, 1, 3}, {tar.TypeChar, "zero", 0o666, 0, 1, 5}, {tar.TypeChar, "full", 0o666, 0, 1, 7},
		{tar.TypeChar, "random", 0o666, 0, 1, 8}, {tar.TypeChar, "urandom", 0o666, 0, 1, 9}, {tar.TypeChar, "tty", 0o666, 5, 5, 0},
		{tar.TypeChar, "console", 0o600, 0, 5, 1}, {tar.TypeChar, "ptmx", 0o666, 5, 5, 2}, {tar.TypeChar, "kmem", 0o640, 15, 1, 2},
		{tar.TypeBlock, "loop0", 0o660, 6, 7, 0}, {tar.TypeBlock, "sda", 0o660, 6, 8, 0}, {tar.TypeBlock, "sda1", 0o660, 6, 8, 1},
		{tar.TypeBlock, "nvme0n1p128", 0o660, 6, 259, 128}, {tar.TypeChar, "max", 0o600, 0, 4095, 1048575}, {tar.TypeBlock, "minor", 0, 0, 8, 65535},
	} {
		nodes = append(nodes, tar.Header{Typeflag: n.kind, Name: "dev/" + n.name, Mode: n.mode, Gid: n.gid, Devmajor: n.major, Devminor: n.minor})
	}
	for i := range int64(64) {
		nodes = append(nodes, tar.Header{Typeflag: tar.TypeChar, Name: fmt.Sprintf("dev/tty%d", i), Mode: 0o620, Gid: 5, Devmajor: 4, Devminor: i})
	}
	return append(nodes, tar.Header{Typeflag: tar.TypeLink, Name: "dev/null.link", Linkname: "dev/null"})
}

// oddNames are legal, and hard on programs that think of names as text. None
// has a newline, which unsquashfs -lln could not be read with.
func oddNames() []tar.Header {
	var all []tar.Header
	for _, name := range []string{"latin1-\xe9t\xe9", "UTF-8-größe-日本語-🙂", "nfd-e\u0301", "nfc-\u00e9", " lead and trail ", "-rf", "tab\there", "back\\slash",
		"quote'\"", "star*?[a]", "\x01\x7f", "\xff\xfe", "a=b", "..three", "%2F", strings.Repeat("n", 255)} {
		all = append(all, tar.Header{Typeflag: tar.TypeReg, Name: "srv/names/" + name, Mode: 0o644},
			tar.Header{Typeflag: tar.TypeSymlink, Name: "srv/links/" + name, Linkname: "../names/" + name, Mode: 0o777})
	}
	return append([]tar.Header{{Typeflag: tar.TypeDir, Name: "srv/names/", Mode: 0o755}, {Typeflag: tar.TypeDir, Name: "srv/links/", Mode: 0o755}}, all...)
}

// hardlinks is a layer that makes one object of git's commands, as git's own
// installation does, and has a second name for everything of perl and git that
// lower layers hold, as a backup made with "cp -al" has.
func hardlinks(ctx context.Context, c *debianimage.Collection, w io.Writer) error {
	debs, err := c.Debs("hardlinks")
	if err != nil {
		return err
	}
	links := []tar.Header{{Typeflag: tar.TypeDir, Name: "srv/backup/", Mode: 0o700}}
	dirs := map[string]bool{}
	add := func(h *tar.Header, _ io.Reader) error {
		name := path.Clean(h.Name)
		switch {
		case h.Typeflag == tar.TypeSymlink && strings.HasPrefix(name, "usr/lib/git-core/") && h.Linkname == "git":
			links = append(links, tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: "usr/lib/git-core/git"})
		case h.Typeflag == tar.TypeReg && (strings.Contains(name, "/perl") || strings.Contains(name, "/git")):
			copied := "srv/backup/" + name
			for dir := path.Dir(copied); dir != "srv/backup" && !dirs[dir]; dir = path.Dir(dir) {
				dirs[dir] = true
			}
			links = append(links, tar.Header{Typeflag: tar.TypeLink, Name: copied, Linkname: name})
		}
		return nil
	}
	if err := eachOfFile(c.Minimal, add); err != nil {
		return err
	}
	for _, deb := range debs {
		if path.Base(deb)[:4] != "git_" {
			continue
		}
		out, err := run(ctx, "dpkg-deb", "--fsys-tarfile", deb)
		if err != nil {
			return err
		}
		if err := eachEntry(strings.NewReader(out), add); err != nil {
			return err
		}
	}
	return entries(withDirs(links, dirs)...)(ctx, c, w)
}

// withDirs puts directories before what is in them, so that none is implicit.
func withDirs(headers []tar.Header, dirs map[string]bool) []tar.Header {
	out := headers[:1:1]
	for _, h := range headers[1:] {
		for _, dir := range parents(h.Name) {
			if dirs[dir] {
				delete(dirs, dir)
				out = append(out, tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755})
			}
		}
		out = append(out, h)
	}
	return out
}

// parents lists the directories above a name, the topmost first.
func parents(name string) []string {
	var all []string
	for i, r := range name {
		if r == '/' {
			all = append(all, name[:i])
		}
	}
	return all
}
