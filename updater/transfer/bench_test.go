package transfer_test

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/updater/transfer"
)

// A file is a remote that is at hand.
type file struct {
	path string
	size int64
}

func (f file) Size() int64 { return f.size }

func (f file) Open(_ context.Context, off, n int64) (io.ReadCloser, error) {
	r, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(r, off, n), r}, nil
}

// BenchmarkRun writes an image of 64 MiB from a file into a file, all of it
// new, or half of it copied from another file.
func BenchmarkRun(b *testing.B) {
	img := make([]byte, 64<<20)
	rand.NewChaCha8([32]byte{1}).Read(img)
	from := file{filepath.Join(b.TempDir(), "image"), int64(len(img))}
	to := filepath.Join(b.TempDir(), "slot")
	for _, name := range []string{from.path, to} {
		if err := os.WriteFile(name, img, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	dev, err := blockdev.Open(to, blockdev.ReadWrite)
	if err != nil {
		b.Fatal(err)
	}
	defer dev.Close()
	half := img[:len(img)/2]
	tr, old := tree(b, img), transfer.Source{Image: blockdev.NewMemory(half), Tree: tree(b, half)}
	for _, bb := range []struct {
		name    string
		sources []transfer.Source
	}{{"all is new", nil}, {"half is here", []transfer.Source{old}}} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(img)))
			b.ReportAllocs()
			for b.Loop() {
				p, err := transfer.New(b.Context(), tr, transfer.Target{Image: dev}, bb.sources, transfer.Options{Near: true})
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.Run(b.Context(), from, &sink{dev: dev}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
