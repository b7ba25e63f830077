package squashfs_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// bytesOf returns the content with the byte at off changed, if off is not
// negative.
func bytesOf(t *testing.T, c squashfstest.Content, off int) []byte {
	t.Helper()
	b, err := io.ReadAll(c.Reader())
	if err != nil {
		t.Fatal(err)
	}
	if off >= 0 {
		b[off] ^= 1
	}
	return b
}

// TestLargeDuplicates has files over 1 MiB that are equal, and others that only
// begin so.
func TestLargeDuplicates(t *testing.T) {
	const size = 3<<20 + 12345
	noise := squashfstest.Noise(1, size)
	for _, tt := range []struct {
		name     string
		contents [][]byte
		want     int // duplicates
	}{
		{"equal", [][]byte{bytesOf(t, noise, -1), bytesOf(t, noise, -1), bytesOf(t, noise, -1)}, 2},
		{"another last byte", [][]byte{bytesOf(t, noise, -1), bytesOf(t, noise, size-1)}, 0},
		{"another byte behind the first MiB", [][]byte{bytesOf(t, noise, -1), bytesOf(t, noise, 1<<20), bytesOf(t, noise, -1)}, 1},
		{"another byte before it", [][]byte{bytesOf(t, noise, 0), bytesOf(t, noise, -1), bytesOf(t, noise, -1)}, 1},
		{"another length", [][]byte{bytesOf(t, noise, -1), bytesOf(t, noise, -1)[:size-1]}, 0},
		{"4 MiB", [][]byte{bytesOf(t, squashfstest.Noise(2, 4<<20), -1), bytesOf(t, squashfstest.Noise(2, 4<<20), -1)}, 1},
		{"over 4 MiB", [][]byte{bytesOf(t, squashfstest.Noise(2, 4<<20+1), -1), bytesOf(t, squashfstest.Noise(2, 4<<20+1), -1)}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sink := &memory{}
			w, err := newCreator(sink, squashfs.Options{Level: 1, Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Abort()
			var files []squashfstest.File
			for i, c := range tt.contents {
				f := file(string(rune('a'+i)), squashfstest.Zero(0))
				f.Size = int64(len(c))
				files = append(files, f)
				if err := w.add(f.Entry, bytes.NewReader(c)); err != nil {
					t.Fatal(err)
				}
			}
			stats, err := w.close()
			if err != nil {
				t.Fatal(err)
			}
			if stats.Duplicates != tt.want || stats.DuplicateBytes != int64(tt.want*len(tt.contents[0])) {
				t.Errorf("%d duplicates of %d bytes; want %d", stats.Duplicates, stats.DuplicateBytes, tt.want)
			}
			list := extract(t, sink.image())
			for i, c := range tt.contents {
				if want := fmt.Sprintf("%q type=regular-file mode=0644 uid=0 gid=0 mtime=0 nlink=1 size=%d sha256=%x\n", files[i].Path, len(c), sha256.Sum256(c)); !strings.Contains(list, want) {
					t.Errorf("unsquashfs extracts\n%s\nwithout %s", list, want)
				}
			}
		})
	}
}

// TestLargeContentsInError ends the second of two likely duplicates early or
// late.
func TestLargeContentsInError(t *testing.T) {
	const size = 2 << 20
	whole := bytesOf(t, squashfstest.Noise(1, size), -1)
	for _, tt := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"short", whole[:size-1], `adding "b": content ends at byte 2097151 of 2097152`},
		{"shorter than what is compared first", whole[:1000], `adding "b": content ends at byte 1000 of 2097152`},
		{"long", append(bytes.Clone(whole), 0), `adding "b": content is longer than its 2097152 bytes`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, err := squashfs.NewWriter(&discard{}, squashfs.Options{Level: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Abort()
			if _, err := w.File("a", size, bytes.NewReader(whole)); err != nil {
				t.Fatal(err)
			}
			if _, err := w.File("b", size, bytes.NewReader(tt.content)); err == nil || err.Error() != tt.want {
				t.Errorf("File() = %v; want %s", err, tt.want)
			}
		})
	}
}
