package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/durable"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// An Update is what WriteUpdate packs.
type Update struct {
	Config       []byte // the encoded update manifest
	Architecture string // for the platform in index.json; "" leaves it out
	Squashfs     UpdateFile
	Tree         UpdateFile
	Layers       []byte            // the list of the image's layers; nil for none
	Annotations  map[string]string // of the manifest
	Subject      *v1.Descriptor    // the image it was built from, when known
}

// An UpdateFile is the content of one layer of an update.
type UpdateFile struct {
	Path string
	// Take moves the file into the layout when both are on one file system,
	// instead of copying it. A failed WriteUpdate may have taken it already.
	Take bool
}

// WriteUpdate adds an update to the OCI image layout in dir, which is made
// when missing, and returns the digest of its manifest. An image of the same
// tag gives up its place in index.json. Each file is synced before it gets its
// name, and index.json comes last: a layout is never seen half done. The same
// update gives the same digest.
func WriteUpdate(ctx context.Context, dir, tag string, u Update) (digest string, err error) {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return "", fmt.Errorf("making layout: %w", err)
	}
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: manifest.ArtifactType,
		Config: describe(manifest.ConfigMediaType, u.Config), Annotations: u.Annotations, Subject: u.Subject,
	}
	if err := writeFile(filepath.Join(blobs, m.Config.Digest.Hex), u.Config); err != nil {
		return "", err
	}
	for _, l := range []struct {
		mt   types.MediaType
		file UpdateFile
	}{{manifest.SquashfsMediaType, u.Squashfs}, {manifest.TreeMediaType, u.Tree}} {
		desc, err := addBlob(ctx, blobs, l.file)
		if err != nil {
			return "", err
		}
		desc.MediaType = l.mt
		m.Layers = append(m.Layers, desc)
	}
	if u.Layers != nil {
		desc := describe(manifest.LayersMediaType, u.Layers)
		if err := writeFile(filepath.Join(blobs, desc.Digest.Hex), u.Layers); err != nil {
			return "", err
		}
		m.Layers = append(m.Layers, desc)
	}
	doc, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encoding manifest: %w", err)
	}
	desc := describe(types.OCIManifestSchema1, doc)
	if err := writeFile(filepath.Join(blobs, desc.Digest.Hex), doc); err != nil {
		return "", err
	}
	if err := durable.SyncDir(blobs); err != nil {
		return "", err
	}
	desc.ArtifactType = manifest.ArtifactType
	if u.Architecture != "" {
		desc.Platform = &v1.Platform{OS: "linux", Architecture: u.Architecture}
	}
	if tag != "" {
		desc.Annotations = map[string]string{refName: tag}
	}
	return desc.Digest.String(), addToIndex(dir, tag, desc)
}

// addToIndex puts desc into index.json in the place of what has its tag. One at
// a time: others may add to the same layout.
func addToIndex(dir, tag string, desc v1.Descriptor) error {
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	name := filepath.Join(dir, "index.json")
	switch old, err := os.ReadFile(name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("reading layout: %w", err)
	default:
		if err := json.Unmarshal(old, &index); err != nil {
			return fault.Errorf(fault.Verify, "reading layout: %s: %w", name, err)
		}
	}
	kept := index.Manifests[:0]
	for _, d := range index.Manifests {
		if d.Annotations[refName] != tag && d.Digest != desc.Digest {
			kept = append(kept, d)
		}
	}
	index.Manifests = append(kept, desc)
	doc, err := json.Marshal(index)
	if err != nil {
		return fmt.Errorf("encoding index.json: %w", err)
	}
	if err := writeFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := writeFile(name, doc); err != nil {
		return err
	}
	return durable.SyncDir(dir)
}

// lockDir waits until nobody else has the lock of a directory.
func lockDir(dir string) (unlock func() error, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("locking layout: %w", err)
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		d.Close()
		return nil, fmt.Errorf("locking layout %s: %w", dir, err)
	}
	return d.Close, nil
}

// addBlob brings a file into the blobs under the name of its digest.
func addBlob(ctx context.Context, blobs string, file UpdateFile) (v1.Descriptor, error) {
	f, err := os.OpenFile(file.Path, os.O_RDONLY, 0)
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("adding to layout: %w", err)
	}
	defer f.Close()
	h, size, err := v1.SHA256(withContext(ctx, f))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("adding %s to layout: %w", file.Path, err)
	}
	desc := v1.Descriptor{Digest: h, Size: size}
	name := filepath.Join(blobs, h.Hex)
	if file.Take {
		if err := f.Sync(); err != nil {
			return desc, fmt.Errorf("adding %s to layout: %w", file.Path, err)
		}
		if err := os.Rename(file.Path, name); err == nil {
			return desc, os.Chmod(name, 0o644)
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return desc, fmt.Errorf("adding %s to layout: %w", file.Path, err)
	}
	v, err := newVerifier(withContext(ctx, f), h, size)
	if err != nil {
		return desc, err
	}
	if err := writeFrom(name, v); err != nil {
		return desc, err
	}
	if file.Take {
		return desc, os.Remove(file.Path)
	}
	return desc, nil
}

func writeFile(name string, b []byte) error { return writeFrom(name, bytes.NewReader(b)) }

// writeFrom makes a file that is there whole or not at all.
func writeFrom(name string, r io.Reader) error {
	pf, err := renameio.NewPendingFile(name, renameio.WithPermissions(0o644), renameio.WithTempDir(filepath.Dir(name)))
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	defer pf.Cleanup()
	if _, err := io.Copy(pf, r); err != nil {
		return spoolKind(fmt.Errorf("writing %s: %w", name, err))
	}
	if err := pf.CloseAtomicallyReplace(); err != nil { // syncs first
		return spoolKind(fmt.Errorf("writing %s: %w", name, err))
	}
	return nil
}
