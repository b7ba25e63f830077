package conformance_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// umoci runs one of umoci's commands, for who may not make owners and devices
// with the option to do without.
func umoci(ctx context.Context, command string, args ...string) (string, error) {
	all := strings.Fields(command)
	if !privileged() {
		all = append(all, "--rootless")
	}
	return run(ctx, "umoci", append(all, args...)...)
}

// unpacking keeps images with the same content from unpacking it twice.
var unpacking sync.Map // tag -> *sync.Mutex

// unpack lets umoci extract an image. What it made is kept in the cache, by
// the image's digest: it takes longer than all else.
func unpack(t *testing.T, dir, tag string, f *facts) listing {
	t.Helper()
	mu, _ := unpacking.LoadOrStore(tag, &sync.Mutex{})
	mu.(*sync.Mutex).Lock()
	defer mu.(*sync.Mutex).Unlock()
	img, err := imageIn(dir, tag)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	const format = 2 // goes up when listings change
	version := must(t, "umoci", "--version")
	key := sha256.Sum256(fmt.Appendf(nil, "%d %s %t %s", format, digest, privileged(), version))
	file := filepath.Join(dir, fmt.Sprintf("umoci-%x.gob", key[:8]))
	var ref listing
	if b, err := os.ReadFile(file); err == nil {
		if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&ref); err != nil {
			t.Fatalf("reading %s: %v", file, err)
		}
		return ref
	}
	if ref, err = extract(t.Context(), dir+":"+tag, filepath.Join(scratch(t), "root")); err != nil {
		t.Fatal(err)
	}
	if !privileged() {
		if err := f.complete(ref); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer // not JSON: not all names are UTF-8
	err = gob.NewEncoder(&b).Encode(ref)
	if err == nil {
		err = errors.Join(os.WriteFile(file+".new", b.Bytes(), 0o644), os.Rename(file+".new", file))
	}
	if err != nil {
		t.Fatalf("keeping what umoci made: %v", err)
	}
	return ref
}

// extract is "umoci unpack" without the list of checksums that goes into a
// bundle beside the root.
func extract(ctx context.Context, image, root string) (listing, error) {
	if _, err := umoci(ctx, "raw unpack", "--image", image, root); err != nil {
		return nil, err
	}
	l, err := list(root)
	if err != nil {
		return nil, err
	}
	l.countDirs()
	return l, remove(root)
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
