package debianimage

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
)

// A mark is all of a tar entry that makes it differ from another.
type mark struct {
	typ          byte
	mode         int64
	uid, gid     int
	mtime        int64
	link         string
	major, minor int64
	records      string // PAX records: xattrs
	content      [sha256.Size]byte
}

// writeDiff writes the layer that turns the tree in the tar base into the one
// in next: what is new or differs, and a whiteout for what is gone.
func writeDiff(dst, base, next string) error {
	have, err := readMarks(base)
	if err != nil {
		return err
	}
	f, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer f.Close()
	in, err := os.Open(next)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := diff(f, have, in); err != nil {
		return fmt.Errorf("comparing roots: %w", err)
	}
	return f.Close()
}

func readMarks(file string) (map[string]mark, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	marks := map[string]mark{}
	err = eachEntry(f, func(h *tar.Header, r io.Reader) error {
		m, _, err := markOf(h, r)
		marks[path.Clean(h.Name)] = m
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return marks, nil
}

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

// markOf reads an entry; a file of a root fits into memory.
func markOf(h *tar.Header, r io.Reader) (mark, []byte, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return mark{}, nil, fmt.Errorf("reading %s: %w", h.Name, err)
	}
	var records bytes.Buffer
	for _, k := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		fmt.Fprintf(&records, "%s=%q\n", k, h.PAXRecords[k])
	}
	return mark{h.Typeflag, h.Mode, h.Uid, h.Gid, h.ModTime.UnixNano(), h.Linkname, h.Devmajor, h.Devminor,
		records.String(), sha256.Sum256(data)}, data, nil
}

func diff(w io.Writer, have map[string]mark, next io.Reader) error {
	tw := tar.NewWriter(w)
	seen, changed := map[string]bool{}, map[string]bool{}
	err := eachEntry(next, func(h *tar.Header, r io.Reader) error {
		name := path.Clean(h.Name)
		seen[name] = true
		m, data, err := markOf(h, r)
		if err != nil {
			return err
		}
		// A hardlink names a file before it, and is another one when that is.
		if m == have[name] && (h.Typeflag != tar.TypeLink || !changed[path.Clean(h.Linkname)]) {
			return nil
		}
		changed[name] = true
		h.Format = tar.FormatPAX
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err = tw.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if seen[name] || !seen[path.Dir(name)] {
			continue
		}
		dir, file := path.Split(name)
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: dir + ".wh." + file, Mode: 0o644}); err != nil {
			return err
		}
	}
	return tw.Close()
}
