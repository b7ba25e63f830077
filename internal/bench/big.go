package main

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
)

// copies is how many roots stand side by side in the large image.
const copies = 10

// A big is an image as large as ten roots: the root itself and, below srv, its
// copies. Each copy's bytes are those of the root with one number added by
// exclusive or: they compress as well as before and are no duplicates.
type big struct {
	Key     string `json:"key"`
	Entries int    `json:"entries"`
	Bytes   int64  `json:"bytes"` // of the tar
	Layer   int64  `json:"layer"` // of the compressed layer

	dir string
}

func (b *big) layout() string { return filepath.Join(b.dir, "big") }

// blob is the layer's file.
func (b *big) blob() (string, error) {
	files, err := filepath.Glob(filepath.Join(b.layout(), "blobs", "sha256", "*"))
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && info.Size() == b.Layer {
			return f, nil
		}
	}
	return "", fmt.Errorf("finding the layer of %s: no blob of %d bytes", b.layout(), b.Layer)
}

// openBig returns the large image, and makes it when it is not there.
func openBig(f *fixture, log io.Writer) (*big, error) {
	file := filepath.Join(f.dir, "big.json")
	b := &big{dir: f.dir}
	key := fmt.Sprintf("1 %d %d %d %s", copies, f.Bytes, f.Entries, f.Key)
	if text, err := os.ReadFile(file); err == nil && json.Unmarshal(text, b) == nil && b.Key == key {
		return b, nil
	}
	b = &big{Key: key, dir: f.dir, Entries: copies * f.Entries}
	fmt.Fprintln(log, "making the large image")
	r, w := io.Pipe()
	count := &counter{w: w}
	go func() { w.CloseWithError(writeBig(count, f.tar())) }()
	var err error
	if b.Layer, err = writeLayout(b.layout(), r, gzip.BestSpeed); err != nil {
		return nil, fmt.Errorf("making the large image: %w", err)
	}
	b.Bytes = count.n
	return b, writeJSON(file, b)
}

// writeBig writes the tar of the large image.
func writeBig(w io.Writer, tarFile string) error {
	tw := tar.NewWriter(w)
	for n := range copies {
		if err := writeCopy(tw, tarFile, n); err != nil {
			return fmt.Errorf("copy %d: %w", n, err)
		}
	}
	return tw.Close()
}

func writeCopy(tw *tar.Writer, tarFile string, n int) error {
	return eachMember(tarFile, func(h *tar.Header, r io.Reader) error {
		move(h, n)
		return writeMember(tw, h, &masked{r, byte(n)})
	})
}

// move puts an entry into the n-th copy.
func move(h *tar.Header, n int) {
	if n == 0 {
		return
	}
	dir := fmt.Sprintf("./srv/%d", n)
	h.Name = path.Join(dir, h.Name)
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	if h.Typeflag == tar.TypeLink {
		h.Linkname = path.Join(dir, h.Linkname)
	}
}

// A masked reader changes every byte in the same way.
type masked struct {
	r    io.Reader
	mask byte
}

func (m *masked) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	for i := range p[:n] {
		p[i] ^= m.mask
	}
	return n, err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
