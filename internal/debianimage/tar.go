package debianimage

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// WriteTar makes a root of Debian's minimal set and the named packages and
// writes it into file, a tar that it replaces when it is whole. Nothing of it
// goes into the cache, whose folder is only worked in.
func WriteTar(ctx context.Context, file string, names []string, opt Options) error {
	suite := opt.Suite
	if suite == "" {
		var err error
		if suite, err = hostSuite(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(opt.CacheDir, 0o755); err != nil {
		return fmt.Errorf("making root: %w", err)
	}
	m, err := newMaker(ctx, suite, opt)
	if err != nil {
		return fmt.Errorf("making root: %w", err)
	}
	defer os.RemoveAll(m.dir)
	args := mmdebstrapArgs(m.dir)
	if opt.Whole {
		args = wholeArgs(m.dir)
	}
	if err := m.root(ctx, "root.tar", names, args); err != nil {
		return fmt.Errorf("making root: %w", err)
	}
	if err := os.Rename(m.file("root.tar"), file); err != nil {
		return fmt.Errorf("making root: %w", err)
	}
	return nil
}

// root builds a root from Debian's minimal set and more packages.
func (m *maker) root(ctx context.Context, tar string, names, args []string) error {
	if err := m.initramfsPackage(ctx); err != nil {
		return err
	}
	args = append(args, hooks...)
	args = append(args, "--variant=minbase", "--include="+strings.Join(names, ","),
		"--essential-hook=upload "+m.file("initramfs.deb")+" /initramfs.deb",
		`--essential-hook=chroot "$1" dpkg -i /initramfs.deb >/dev/null && rm "$1/initramfs.deb"`)
	return m.mmdebstrap(ctx, tar, args)
}
