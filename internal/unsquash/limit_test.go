package unsquash_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/unsquash"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// An image of a few KiB can have many names for one inode of any length: what
// Open keeps for each of them is counted. A Finder keeps none.
func TestManyNamesOfLargeInode(t *testing.T) {
	const links, size = 64, 16 << 20 // an inode of 4096 blocks, 16 KiB
	files := []squashfstest.File{{Entry: fstree.Entry{Path: "0", Type: fstree.Regular, Size: size}, Content: squashfstest.Zero(size)}}
	for i := range links {
		files = append(files, squashfstest.File{Entry: fstree.Entry{Path: fmt.Sprint(i + 1), Type: fstree.Hardlink, Linkname: "0"}})
	}
	image, _ := pack(t, files, squashfs.Options{BlockSize: 4 << 10})
	if im, err := unsquash.Open(bytes.NewReader(image), int64(len(image))); err != nil || len(im.Files) != links+2 {
		t.Fatalf("Open() of %d bytes: %v", len(image), err)
	}
	unsquash.LimitMetadata(t, links*16<<10/2)
	if _, err := unsquash.Open(bytes.NewReader(image), int64(len(image))); !errors.Is(err, unsquash.ErrCorrupt) {
		t.Errorf("Open() with a limit of half of the records = %v; want ErrCorrupt", err)
	}
	find := finder(t, image)
	for _, f := range files {
		r, _, err := find.Open(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.CopyN(io.Discard, r, 4<<10); err != nil || n != 4<<10 {
			t.Errorf("%q gives %d bytes, %v", f.Path, n, err)
		}
	}
}
