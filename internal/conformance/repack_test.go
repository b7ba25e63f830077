package conformance_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// repack derives layers by changing what umoci unpacked, and by its inserting:
// their whiteouts and opaque markers are not ours.
func repack(ctx context.Context, dir string) error {
	work, err := os.MkdirTemp(filepath.Dir(dir), "repack-")
	if err != nil {
		return err
	}
	defer remove(work)
	from := "python"
	for i, change := range []func(root string) error{removeAndReplace, putBack} {
		bundle := filepath.Join(work, fmt.Sprint(i))
		if _, err := umoci(ctx, "unpack", "--image", dir+":"+from, bundle); err != nil {
			return err
		}
		if err := change(filepath.Join(bundle, "rootfs")); err != nil {
			return fmt.Errorf("changing the root: %w", err)
		}
		if _, err := run(ctx, "umoci", "repack", "--image", dir+":repacked", bundle); err != nil {
			return err
		}
		from = "repacked"
	}
	// What was below the directory is hidden from now on.
	opaque := filepath.Join(work, "opaque")
	if err := os.MkdirAll(filepath.Join(opaque, "new/folder"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(opaque, "new/file"), []byte("all that is here\n"), 0o644); err != nil {
		return err
	}
	_, err = umoci(ctx, "insert", "--image", dir+":repacked", "--opaque", opaque, "/usr/share/doc")
	return err
}

// changes are steps on a root, of which the first error is kept.
type changes struct {
	root string
	errs []error
}

func (c *changes) at(name string) string { return filepath.Join(c.root, name) }

func (c *changes) check(errs ...error) { c.errs = append(c.errs, errs...) }

func (c *changes) remove(names ...string) {
	for _, name := range names {
		if _, err := os.Lstat(c.at(name)); err != nil {
			c.check(err) // what is not there makes no whiteout
		}
		c.check(os.RemoveAll(c.at(name)))
	}
}

func (c *changes) write(name, content string, mode os.FileMode) {
	c.check(os.MkdirAll(filepath.Dir(c.at(name)), 0o755), os.WriteFile(c.at(name), []byte(content), 0o600), os.Chmod(c.at(name), mode))
}

func (c *changes) symlink(name, target string) { c.check(os.Symlink(target, c.at(name))) }

// linkAll gives every file below a directory a second name below another.
func (c *changes) linkAll(from, to string) {
	c.check(filepath.WalkDir(c.at(from), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(c.at(from), path)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(c.at(to), rel), 0o755)
		case d.Type().IsRegular():
			return os.Link(path, filepath.Join(c.at(to), rel))
		}
		return nil
	}))
}

// removeAndReplace deletes, and puts each type in the place of another.
func removeAndReplace(root string) error {
	c := &changes{root: root}
	c.remove("usr/share/bash-completion", "usr/share/common-licenses", "etc/debian_version", "usr/share/base-files/profile", "etc/cron.daily")

	c.remove("usr/share/perl5") // a directory becomes a file
	c.write("usr/share/perl5", "now a file\n", 0o644)
	c.remove("etc/issue") // a file becomes a directory
	c.write("etc/issue/first", "one\n", 0o600)
	c.remove("etc/skel") // a directory becomes a symlink
	c.symlink("etc/skel", "default")
	c.remove("etc/os-release") // a symlink becomes a file
	c.write("etc/os-release", "ID=changed\nVERSION_ID=1\n", 0o644)
	c.remove("usr/bin/awk") // a symlink becomes a directory
	c.write("usr/bin/awk/file", "x\n", 0o644)
	c.remove("usr/bin/which") // a symlink leads elsewhere
	c.symlink("usr/bin/which", "which.new")
	c.remove("etc/motd")
	c.check(unix.Mkfifo(c.at("etc/motd"), 0o640)) // a file becomes a fifo

	c.write("usr/bin/setuid", "#!/bin/sh\n", 0o755|os.ModeSetuid)
	c.check(os.Chmod(c.at("var/lib/dpkg/status"), 0o600)) // only the mode
	c.check(os.Chtimes(c.at("etc/fstab"), time.Unix(1e9, 5e8), time.Unix(1e9, 5e8)))
	c.check(os.Rename(c.at("usr/lib/apt"), c.at("usr/lib/apt.renamed")))
	c.write("srv/empty", "", 0o444)
	c.write("srv/locked/secret", "x\n", 0o400)
	c.check(os.Chmod(c.at("srv/locked"), 0o500))
	c.linkAll("var/lib/dpkg/info", "srv/linked")
	return errors.Join(c.errs...)
}

// putBack goes on from there: names come back as something else, and one of
// several links goes.
func putBack(root string) error {
	c := &changes{root: root}
	c.write("etc/debian_version", "back\n", 0o644)
	c.write("usr/share/bash-completion/back", "back\n", 0o644)
	c.remove("usr/share/perl5") // a directory again
	c.write("usr/share/perl5/Back.pm", "1;\n", 0o644)
	c.remove("etc/motd", "usr/bin/setuid", "srv/linked/bash.list")
	c.write("srv/linked/bash.list", "no link any more\n", 0o644)
	c.remove("var/lib/dpkg/info/tar.list") // its other name keeps the object
	c.check(os.Chmod(c.at("srv/locked"), 0o700))
	return errors.Join(c.errs...)
}

// dockerArchive is what "docker save" makes of the repacked image.
func dockerArchive(ctx context.Context, dir string) error {
	_, err := run(ctx, "skopeo", "--insecure-policy", "copy", "--quiet", "oci:"+dir+":repacked", "docker-archive:"+dir+"/docker.tar:abupdate/conformance:1")
	return err
}
