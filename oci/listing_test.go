package oci_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/oci"
)

// A found is one entry with its content, as a model, umoci or oci gives it.
type found struct {
	fstree.Entry
	content string
}

// usual is the mode that a listing does not show.
var usual = map[fstree.Type]uint16{
	fstree.Regular: 0o644, fstree.Directory: 0o755, fstree.Symlink: 0o777, fstree.FIFO: 0o644,
	fstree.CharDevice: 0o600, fstree.BlockDevice: 0o600,
}

var letters = map[fstree.Type]string{
	fstree.Regular: "f", fstree.Directory: "d", fstree.Symlink: "l", fstree.FIFO: "p",
	fstree.CharDevice: "c", fstree.BlockDevice: "b", fstree.Hardlink: "h",
}

// line writes an entry as a table's row expects it: what is usual is left out.
func line(f found) string {
	path := f.Path
	if path == "" {
		path = "."
	}
	s := fmt.Sprintf("%s %s", letters[f.Type], strings.Trim(fmt.Sprintf("%q", path), `"`))
	switch f.Type {
	case fstree.Hardlink:
		return s + " = " + f.Linkname
	case fstree.Symlink:
		s += " -> " + f.Linkname
	case fstree.Regular:
		if len(f.content) > 64 {
			s += fmt.Sprintf(" %d bytes %.6x", len(f.content), sha256.Sum256([]byte(f.content)))
		} else {
			s += " " + f.content
		}
	case fstree.CharDevice, fstree.BlockDevice:
		s += fmt.Sprintf(" %d:%d", f.Major, f.Minor)
	}
	if f.Mode != usual[f.Type] {
		s += fmt.Sprintf(" %04o", f.Mode)
	}
	if f.UID != 0 || f.GID != 0 {
		s += fmt.Sprintf(" %d:%d", f.UID, f.GID)
	}
	if f.ModTime != stamp {
		s += fmt.Sprintf(" @%d", f.ModTime)
	}
	for _, x := range f.Xattrs {
		s += fmt.Sprintf(" %s=%q", x.Name, x.Value)
	}
	return s
}

func regular(path string, size int) fstree.Entry {
	return fstree.Entry{Path: path, Type: fstree.Regular, Mode: 0o644, ModTime: stamp, Size: int64(size)}
}

// lines lists entries; a root that no entry describes is left out.
func lines(all []found) []string {
	var out []string
	for _, f := range all {
		if s := line(f); s != "d . @0" {
			out = append(out, s)
		}
	}
	return out
}

// read goes through both passes over an image.
func read(t testing.TB, img *oci.Image) ([]found, *oci.Plan, error) {
	t.Helper()
	ix, err := oci.ReadIndex(context.Background(), img)
	if err != nil {
		return nil, nil, err
	}
	p, err := ix.Plan()
	if err != nil {
		return nil, nil, err
	}
	contents := map[string]string{}
	var order []string
	err = p.Each(context.Background(), func(e fstree.Entry, r io.Reader) error {
		var b bytes.Buffer
		if _, err := io.Copy(&b, r); err != nil {
			return err
		}
		if e.Type == fstree.Regular && int64(b.Len()) != e.Size || e.Type != fstree.Regular && b.Len() > 0 {
			t.Errorf("content of %v %q has %d bytes; want %d", e.Type, e.Path, b.Len(), e.Size)
		}
		if _, ok := contents[e.Path]; ok {
			t.Errorf("Each gives %q twice", e.Path)
		}
		if _, ok := contents[e.Linkname]; e.Type == fstree.Hardlink && !ok {
			t.Errorf("Each gives hardlink %q before %q", e.Path, e.Linkname)
		}
		contents[e.Path] = b.String()
		order = append(order, e.Path)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	var all []found
	for _, e := range p.Entries {
		body, ok := contents[e.Path]
		if !ok {
			t.Errorf("Each leaves out %q", e.Path)
		}
		all = append(all, found{e, body})
	}
	if len(order) != len(p.Entries) {
		t.Errorf("Each gives %d entries; want %d", len(order), len(p.Entries))
	}
	if !slices.IsSortedFunc(p.Entries, func(a, b fstree.Entry) int { return strings.Compare(a.Path, b.Path) }) {
		t.Error("Entries are not sorted")
	}
	return all, p, nil
}
