package build

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/abupdate/abupdate/initramfs/modules"
)

// A ModuleSource holds the files of one /usr/lib/modules/RELEASE folder.
type ModuleSource = modules.Source

// A Module is a kernel module, decompressed.
type Module = modules.Module

// FromFS returns the ModuleSource of an unpacked module folder.
func FromFS(fsys fs.FS) ModuleSource { return modules.FromFS(fsys) }

// ResolveModules is modules.Resolve with all the decompressors that kernels
// have.
func ResolveModules(src ModuleSource, want []string) ([]Module, error) {
	return modules.Resolve(src, want, decompress)
}

// maxModule bounds a decompressed module; the largest of a Debian kernel is
// 10 MB.
const maxModule = 64 << 20

func decompress(name string, b []byte) ([]byte, error) {
	var r io.Reader = bytes.NewReader(b)
	var err error
	switch {
	case strings.HasSuffix(name, ".xz"):
		r, err = xz.NewReader(r)
	case strings.HasSuffix(name, ".gz"):
		r, err = gzip.NewReader(r)
	case strings.HasSuffix(name, ".zst"):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(r, zstd.WithDecoderConcurrency(1)); err == nil {
			defer d.Close()
			r = d
		}
	default:
		return b, nil
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(r, maxModule+1))
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	if len(out) > maxModule {
		return nil, fmt.Errorf("decompressing: more than %d bytes", maxModule)
	}
	return out, nil
}
