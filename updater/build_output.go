package updater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/compose"
)

// An output is where Build makes things: beside the place where they belong,
// so that moving them there is a rename. The image is written once; when both
// a slot image and an update are wanted, the update gets a copy.
type output struct {
	opt    BuildOptions
	raw    string // working folder for the slot image, "" when none is wanted
	work   string // working folder for the update, likewise
	hashes *HashStore
}

// Names in the working folders.
const (
	squashfsFile = "squashfs" // of a slot image: all of it
	treeFile     = "tree"
	layoutDir    = "layout"
)

func newOutput(opt BuildOptions) (*output, error) {
	if st, err := os.Stat(opt.Raw); err == nil && st.IsDir() {
		return nil, fault.Errorf(fault.Usage, "writing %s: it is a directory", opt.Raw)
	}
	if st, err := os.Stat(opt.Dir); err == nil && !st.IsDir() {
		return nil, fault.Errorf(fault.Usage, "writing %s: it is not a directory", opt.Dir)
	}
	o := &output{opt: opt}
	var err error
	if opt.Raw != "" {
		o.raw, err = workDir(filepath.Dir(opt.Raw))
	}
	if err == nil && (opt.Dir != "" || opt.Push != "") {
		parent := opt.TempDir
		if parent == "" && opt.Dir != "" {
			parent = filepath.Dir(filepath.Clean(opt.Dir))
		}
		o.work, err = workDir(parent)
	}
	if err != nil {
		o.remove()
		return nil, err
	}
	o.hashes = NewHashStore(filepath.Dir(o.image()))
	return o, nil
}

func workDir(parent string) (string, error) {
	dir, err := os.MkdirTemp(parent, ".abupdate-build-*")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return "", fault.Errorf(fault.Usage, "making a working directory: %w", err)
	}
	if err != nil {
		return "", fmt.Errorf("making a working directory: %w", err)
	}
	return dir, nil
}

// image is the file that the squashfs is written to.
func (o *output) image() string {
	if o.raw != "" {
		return filepath.Join(o.raw, squashfsFile)
	}
	return filepath.Join(o.work, squashfsFile)
}

// remove takes away what has not been moved to its place.
func (o *output) remove() {
	if o.hashes != nil {
		o.hashes.Close()
	}
	for _, dir := range []string{o.raw, o.work} {
		if dir != "" {
			os.RemoveAll(dir)
		}
	}
}

// compose writes the squashfs.
func (o *output) compose(ctx context.Context, im *Image) (*compose.Result, error) {
	f, err := os.Create(o.image())
	if err != nil {
		return nil, err
	}
	made, err := im.Compose(ctx, compose.Sink(f), o.hashes)
	return made, errors.Join(err, f.Close())
}

// update makes squashfs and tree files of their own for an update.
func (o *output) update(made *compose.Result) (squashfs, tree string, err error) {
	squashfs, tree = filepath.Join(o.work, squashfsFile), filepath.Join(o.work, treeFile)
	if o.raw != "" {
		if err := copyStart(squashfs, o.image(), made.Manifest.ImageBytes); err != nil {
			return "", "", err
		}
	}
	f, err := os.Create(tree)
	if err != nil {
		return "", "", err
	}
	_, err = made.Tree.WriteTo(f)
	return squashfs, tree, errors.Join(err, f.Close())
}

// copyStart copies the first n bytes of a file, where the file system can do
// that by sharing them.
func copyStart(to, from string, n int64) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.CopyN(dst, src, n)
	return errors.Join(err, dst.Close())
}

// Place moves a finished file to its name, where it is also after the power
// went.
func Place(from, to string) error {
	if err := syncPath(from); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return SyncFolder(to)
}

// SyncFolder makes the name of a file last.
func SyncFolder(file string) error { return syncPath(filepath.Dir(file)) }

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
