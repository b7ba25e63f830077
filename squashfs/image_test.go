package squashfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// memory is a Sink that holds the image and the Writer to the contract.
type memory struct {
	bytes.Buffer // from byte 4096 on
	first        []byte
}

func (m *memory) Write(p []byte) (int, error) {
	if m.first != nil {
		return 0, errors.New("Write after WriteFirst")
	}
	return m.Buffer.Write(p)
}

func (m *memory) WriteFirst(block []byte) error {
	if m.first != nil || len(block) != 4096 || m.Len()%4096 != 0 {
		return fmt.Errorf("WriteFirst of %d bytes after %d, a second time: %v", len(block), m.Len(), m.first != nil)
	}
	m.first = bytes.Clone(block)
	return nil
}

func (m *memory) image() []byte { return append(bytes.Clone(m.first), m.Bytes()...) }

// discard is a Sink for measuring.
type discard struct{ n int64 }

func (d *discard) Write(p []byte) (int, error) { d.n += int64(len(p)); return len(p), nil }
func (d *discard) WriteFirst([]byte) error     { return nil }

// A creator is a Writer and the tree for it.
type creator struct {
	*squashfs.Writer
	tree    *fstree.Tree
	refused error // by the tree: the Writer does not know of it
}

func newCreator(sink squashfs.Sink, opt squashfs.Options) (*creator, error) {
	w, err := squashfs.NewWriter(sink, opt)
	return &creator{Writer: w, tree: fstree.NewTree()}, err
}

// add passes one object on.
func (c *creator) add(e fstree.Entry, content io.Reader) error {
	n, err := c.tree.Add(e)
	if err != nil {
		c.refused = err
	}
	if err != nil || e.Type != fstree.Regular {
		return err
	}
	data, err := c.File(e.Path, e.Size, content)
	if err == nil {
		c.tree.SetContent(n, data)
	}
	return err
}

// addAll passes files on, hardlinks after what they may link to.
func (c *creator) addAll(files []squashfstest.File) error {
	for _, links := range []bool{false, true} {
		for _, f := range files {
			if (f.Type == fstree.Hardlink) != links {
				continue
			}
			if err := c.add(f.Entry, f.Content.Reader()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *creator) close() (squashfs.Stats, error) { return c.Close(c.tree) }

// build makes an image of files in memory.
func build(t testing.TB, files []squashfstest.File, opt squashfs.Options) ([]byte, squashfs.Stats) {
	t.Helper()
	var sink memory
	w, err := newCreator(&sink, opt)
	if err != nil {
		t.Fatalf("NewWriter(%+v): %v", opt, err)
	}
	defer w.Abort()
	if err := w.addAll(files); err != nil {
		t.Fatal(err)
	}
	stats, err := w.close()
	if err != nil {
		t.Fatalf("Close(): %v", err)
	}
	if got := int64(len(sink.image())); got != stats.Bytes {
		t.Fatalf("image has %d bytes; Stats.Bytes = %d", got, stats.Bytes)
	}
	return sink.image(), stats
}

// save writes an image to a file for a tool to read.
func save(t testing.TB, image []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image.squashfs")
	if err := os.WriteFile(name, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// unsquashfs runs the tool and returns what it prints.
func unsquashfs(t testing.TB, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("unsquashfs"); err != nil {
		t.Fatalf("%v: install the Debian package squashfs-tools", err)
	}
	cmd := exec.Command("unsquashfs", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd, err, out, stderr.Bytes())
	}
	return string(out)
}
