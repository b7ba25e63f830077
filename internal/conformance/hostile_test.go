package conformance_test

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestHostile feeds the program with images that want to fill memory, disk or
// time. It says no in one line, by the exit code of a refusal or of what does
// not verify, within a small device's memory, and leaves nothing behind.
func TestHostile(t *testing.T) {
	tests := []struct {
		name string
		make func(c *craft) string
		args []string
		code int
		want string
	}{
		{"10 GiB of zeros in 10 MB of gzip", func(c *craft) string {
			return c.image(c.blob(gzipLayer, zeroBomb(gzipped, tarStart(10<<30))))
		}, []string{"--limit", "1G"}, 6, "bytes"},
		{"10 GiB of zeros in 1 MB of zstd", func(c *craft) string {
			return c.image(c.blob(zstdLayer, zeroBomb(zstandard, tarStart(10<<30))))
		}, []string{"--limit", "1G"}, 6, "bytes"},
		{"10 GiB of gzip behind the end of the tar", func(c *craft) string {
			return c.image(c.blob(gzipLayer, zeroBomb(gzipped, nil)))
		}, []string{"--limit", "1G"}, 6, "bytes"},
		{"10 GiB of zstd behind the end of the tar", func(c *craft) string {
			return c.image(c.blob(zstdLayer, zeroBomb(zstandard, nil)))
		}, []string{"--limit", "1G"}, 6, "bytes"},
		{"a file of 100 GiB, by the limits of who gives none", func(c *craft) string {
			return c.image(c.blob(gzipLayer, zeroBomb(gzipped, tarStart(100<<30))))
		}, nil, 6, "bytes"},
		{"a file that is sparse and has 1 PiB", func(c *craft) string {
			return c.image(c.layer(sparseFile(1 << 50)))
		}, nil, 6, "bytes"},
		{"an extended header of 1 GiB", func(c *craft) string {
			return c.image(c.blob(gzipLayer, zeroBomb(gzipped, rawHeader('x', 1<<30))))
		}, nil, 4, "too long"},
		{"a name of 1 GiB", func(c *craft) string {
			return c.image(c.blob(gzipLayer, zeroBomb(gzipped, rawHeader('L', 1<<30))))
		}, nil, 4, "too long"},
		{"40 MB of attributes that differ", func(c *craft) string { return c.image(c.layer(manyXattrs("user.", 40e6))) }, nil, 6, "attributes"},
		{"600 MB of names", func(c *craft) string {
			return c.image(c.blob(gzipLayer, bomb(gzipped, nil, longNames(60e6), 10)))
		}, nil, 6, "names"},
		{"40 MB of attributes that are left out", func(c *craft) string { return c.image(c.layer(manyXattrs("system.", 40e6))) }, nil, 6, "attributes"},
		{"a window of 2 GiB", func(c *craft) string { return c.image(c.blob(zstdLayer, wideWindow)) }, nil, 4, "window"},
		{"a config of 1 GiB of spaces", func(c *craft) string {
			ref := c.image(c.layer(func(w io.Writer) error { return tar.NewWriter(w).Close() }))
			c.swapConfig(1 << 30)
			return ref
		}, nil, 4, "config"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref := tt.make(newCraft(t))
			out := t.TempDir()
			cmd := abupdate(t, append([]string{"build", ref, "--raw", filepath.Join(out, "slot.img"), "--no-kernel", "--quiet"}, tt.args...)...)
			r := measure(t, cmd)
			t.Logf("exit code %d: %s", r.code, r.stderr)
			if r.code != tt.code || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, tt.want) || r.stdout != "" {
				t.Errorf("exit code %d, stderr %q, stdout %q; want %d and one line with %q", r.code, r.stderr, r.stdout, tt.code, tt.want)
			}
			r.wantPeak(t, 96)
			if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v (%v); want nothing", left, err)
			}
		})
	}
}

// rawHeader is the header of an entry that describes the next one.
func rawHeader(kind byte, size int64) []byte {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "x", Size: size, Format: tar.FormatUSTAR}); err != nil {
		panic(err)
	}
	header := b.Bytes()
	header[156] = kind
	copy(header[148:156], "        ")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:], []byte(octal(sum, 6)+"\x00 "))
	return header
}

func octal(n, digits int) string {
	s := make([]byte, digits)
	for i := range s {
		s[digits-1-i] = byte('0' + n&7)
		n >>= 3
	}
	return string(s)
}

// longNames is a part of a tar: files with so many bytes of names.
func longNames(total int) []byte {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	dir := strings.Repeat(strings.Repeat("d", 250)+"/", 15)
	for n := 0; n < total; n += len(dir) + 8 {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: dir + octal(n/len(dir), 8), Mode: 0o644, Format: tar.FormatPAX}
		if err := tw.WriteHeader(h); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

// manyXattrs is a layer of files with so many bytes of attributes' names, all
// of them different.
func manyXattrs(namespace string, total int) func(io.Writer) error {
	return func(w io.Writer) error {
		tw := tar.NewWriter(w)
		for n := 0; n < total; n += 60_000 {
			h := &tar.Header{Typeflag: tar.TypeReg, Name: "f" + octal(n/60_000, 8), Mode: 0o644, Format: tar.FormatPAX,
				PAXRecords: map[string]string{"SCHILY.xattr." + namespace + octal(n, 12) + strings.Repeat("x", 60_000): "value"}}
			if err := tw.WriteHeader(h); err != nil {
				return err
			}
		}
		return tw.Close()
	}
}

// wideWindow is a zstd frame whose decoder would need 2 GiB.
func wideWindow(w io.Writer) error {
	zw, err := zstd.NewWriter(w, zstd.WithWindowSize(zstd.MaxWindowSize), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(false))
	if err != nil {
		return err
	}
	if _, err := io.CopyN(zw, zeros{}, 700*mib); err != nil {
		return err
	}
	return zw.Close()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
