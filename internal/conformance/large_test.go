package conformance_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
)

// TestLarge builds images that are large and mean no harm, within the bound
// of memory that the documentation gives.
func TestLarge(t *testing.T) {
	tests := []struct {
		name  string
		layer func(io.Writer) error
		bound int64 // of memory, in MiB
		check func(t *testing.T, raw string)
	}{
		{"1,000,000 entries, 200,000 of them in one directory", millionEntries, 192, func(t *testing.T, raw string) {
			if got, want := stat(t, raw)["Number of inodes"], fmt.Sprint(1_000_000+800+3); got != want {
				t.Errorf("the image has %s inodes; want %s", got, want)
			}
		}},
		{"a sparse file of 10 GiB", sparseFile(10 << 30), 64, func(t *testing.T, raw string) {
			if got := rows(t, raw)["sparse"].Size; got != 10<<30 {
				t.Errorf("the sparse file has %d bytes; want 10 GiB", got)
			}
			if size := sizeOf(t, raw); size > mib {
				t.Errorf("the image has %d bytes; want less than a MiB", size)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCraft(t)
			ref := c.image(c.layer(tt.layer))
			raw := filepath.Join(scratch(t), "slot.img")
			r := measure(t, abupdate(t, "build", ref, "--raw", raw, "--no-kernel", "--quiet"))
			if r.code != 0 {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			r.wantPeak(t, tt.bound)
			tt.check(t, raw)
		})
	}
}

// millionEntries is a layer of so many files in 801 directories; a tenth of
// them has content.
func millionEntries(w io.Writer) error {
	tw := tar.NewWriter(w)
	dir := func(name string) error {
		return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, ModTime: stamp})
	}
	for _, name := range []string{"usr", "usr/flat"} {
		if err := dir(name); err != nil {
			return err
		}
	}
	for i := range 1_000_000 {
		name := fmt.Sprintf("usr/flat/entry-%07d", i)
		if i >= 200_000 {
			name = fmt.Sprintf("usr/%03d/entry-%07d", i/1000, i)
			if i%1000 == 0 {
				if err := dir(name[:strings.LastIndexByte(name, '/')]); err != nil {
					return err
				}
			}
		}
		content := ""
		if i%10 == 0 {
			content = name
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: stamp, Uid: i % 7}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, content); err != nil {
			return err
		}
	}
	return tw.Close()
}

// sparseFile is a layer with a file of nothing but a hole, as GNU tar stores
// it in its format 1.0: a map of no data in the place of the content.
func sparseFile(size int64) func(io.Writer) error {
	return func(w io.Writer) error {
		var records bytes.Buffer
		for _, r := range []string{"major=1", "minor=0", "name=sparse", fmt.Sprintf("realsize=%d", size)} {
			r = " GNU.sparse." + r + "\n"
			fmt.Fprintf(&records, "%d%s", len(r)+2, r)
		}
		if _, err := w.Write(rawHeader('x', int64(records.Len()))); err != nil {
			return err
		}
		if _, err := w.Write(padded(records.Bytes())); err != nil {
			return err
		}
		holes := padded(fmt.Appendf(nil, "1\n%d\n0\n", size))
		tw := tar.NewWriter(w)
		h := &tar.Header{Typeflag: tar.TypeReg, Name: "GNUSparseFile.0/sparse", Mode: 0o644, Size: int64(len(holes)), Format: tar.FormatUSTAR}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := tw.Write(holes); err != nil {
			return err
		}
		return tw.Close()
	}
}

// padded fills a tar's blocks.
func padded(b []byte) []byte { return append(b, make([]byte, -len(b)&511)...) }
