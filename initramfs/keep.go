package initramfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/initramfs/etc"
	"github.com/abupdate/abupdate/internal/manifest"
)

// persistDir is where the folders lie that an image keeps, below /var.
const persistDir = "/lib/abupdate/persist"

// overlayPlain turns off what overlayfs remembers of its lower directory in the
// upper one: with another image the lower directory is another.
const overlayPlain = ",redirect_dir=off,index=off,metacopy=off"

// keepChanges brings back what the device keeps outside of /var, as far as its
// image wants that.
func (b *boot) keepChanges(m *manifest.Manifest) error {
	if m.Etc == manifest.EtcPersist {
		err := b.keepEtc(m.RootHash)
		if full(err) {
			b.sys.Log(true, "/etc: changes of this device are not there: "+err.Error())
		} else if err != nil {
			return fmt.Errorf("/etc: %w", err)
		}
	}
	for _, dir := range m.Persist {
		err := b.keepDir(dir)
		if full(err) {
			b.sys.Log(true, dir+" is not kept: "+err.Error())
		} else if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	return nil
}

// keepEtc puts the changes of this device on the image's /etc.
func (b *boot) keepEtc(image string) error {
	dir, err := resolve(b.path(varDir), etc.Dir)
	if err != nil {
		return err
	}
	lower, err := resolve(b.path(lowerDir), "/etc")
	if err != nil {
		return err
	}
	target, err := resolve(b.path(newRoot), "/etc")
	if err != nil {
		return err
	}
	store := etc.Store{Path: dir, Chown: b.sys.Lchown, Sync: func() error { return b.sys.SyncFilesystem(b.path(varDir)) }}
	changes, err := store.Reconcile(lower, image)
	if err != nil {
		return err
	}
	if err := b.copyMeta(lower, store.Upper()); err != nil {
		return err
	}
	options := "lowerdir=" + b.inside(lower) + ",upperdir=" + b.inside(store.Upper()) + ",workdir=" + b.inside(store.Work())
	if err := b.sys.Mount(Mount{"overlay", b.inside(target), "overlay", options + overlayPlain, 0}); err != nil {
		return fmt.Errorf("mounting the overlay: %w", err)
	}
	for path, c := range changes {
		if c.Conflict() {
			b.sys.Log(false, fmt.Sprintf("/etc/%s: changed by this device and by the image; the device's stays (abupdate etc diff)", path))
		}
	}
	b.debug("/etc: %d changes", len(changes))
	return nil
}

// keepDir binds a folder of /var in the place of one of the image. The first
// time it is given what the image has there.
func (b *boot) keepDir(dir string) error {
	kept, err := resolve(b.path(varDir), persistDir+dir)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(kept); errors.Is(err, os.ErrNotExist) {
		err = b.makeKept(dir, kept)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	target, err := resolve(b.path(newRoot), dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	return b.sys.Mount(Mount{Source: b.inside(kept), Target: b.inside(target), Flags: Bind})
}

// makeKept makes a folder that is to be kept.
func (b *boot) makeKept(dir, kept string) error {
	if err := os.MkdirAll(filepath.Dir(kept), 0o755); err != nil {
		return err
	}
	if !isDir(b.path(lowerDir), dir) {
		return os.Mkdir(kept, 0o755)
	}
	src, err := resolve(b.path(lowerDir), dir)
	if err != nil {
		return err
	}
	f := filler{boot: b, files: true, sync: !b.state.MakingVar}
	return f.newDir(src, kept)
}

// inside returns a path of this system as one below Root.
func (b *boot) inside(path string) string {
	rel, err := filepath.Rel(b.sys.Root(), path)
	if err != nil {
		return path
	}
	return filepath.Join("/", rel)
}
