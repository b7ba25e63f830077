package squashfs_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

// treeOf turns bytes into a small tree: three bytes make an entry. What does
// not fit what is there already (a name twice, a file as a parent) is left out.
func treeOf(prog []byte) ([]squashfstest.File, squashfs.Options) {
	opt := squashfs.Options{Workers: 2}
	if len(prog) > 0 {
		b := prog[0]
		opt.BlockSize = 4096 << (b & 3)
		opt.Compression = squashfs.Compression(b >> 2 % 3)
		opt.Layout = squashfs.Layout(b >> 4 & 1)
		prog = prog[1:]
	}
	var files []squashfstest.File
	dirs, links := []string{""}, []string(nil)
	seen := map[string]bool{}
	for ; len(prog) >= 3; prog = prog[3:] {
		kind, x, y := prog[0]%8+1, prog[1], prog[2]
		path := fmt.Sprintf("%s%c%d", dirs[int(x)%len(dirs)], 'a'+kind, y%32)
		if seen[path] {
			continue
		}
		f := squashfstest.File{Entry: fstree.Entry{Path: path, Type: fstree.Type(kind), Mode: uint16(x)<<4 | uint16(y)>>4,
			UID: uint32(x) * 1000, GID: uint32(y) << 24, ModTime: 1 + int64(x)<<23 + int64(y)}}
		switch f.Type {
		case fstree.Regular:
			size := int64(x)*int64(y) + int64(y)%3
			f.Content = []squashfstest.Content{squashfstest.Text(uint64(y), size), squashfstest.Noise(uint64(x), size), squashfstest.Zero(size),
				squashfstest.WithHole(squashfstest.Noise(uint64(y), size), 4096, 16384)}[prog[0]>>6]
			f.Size = size
			if prog[0]>>3&3 == 1 {
				f.Xattrs = []fstree.Xattr{{Name: fmt.Sprintf("user.%d", y%3), Value: make([]byte, x%65)}}
			}
			links = append(links, path)
		case fstree.Directory:
			dirs = append(dirs, path+"/")
		case fstree.Symlink:
			f.Linkname = fmt.Sprintf("../%d", y)
		case fstree.CharDevice, fstree.BlockDevice:
			f.Major, f.Minor = uint32(x), uint32(y)<<8
		case fstree.Hardlink:
			if len(links) == 0 {
				continue
			}
			f.Linkname = links[int(y)%len(links)]
		}
		seen[path] = true
		files = append(files, f)
	}
	return files, opt
}

// FuzzTree compares what go-diskfs reads with what was put in.
func FuzzTree(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte("\x00\x01\x00\x01\x00\x01\xff\x00\xff\xff\x07\x00\x01"))
	f.Add([]byte("\x15\x08\xf0\xf0\x48\xf0\xf0\x80\xff\xff\xc0\xfe\xfe\x01\x01\x01\x02\x01\x03\x03\x01\x05\x04\x09\x09"))
	all := []byte{2}
	for i := range 400 {
		all = append(all, byte(i), byte(i*i>>3), byte(i*7))
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, prog []byte) {
		if len(prog) > 2000 {
			return
		}
		files, opt := treeOf(prog)
		image, _ := build(t, files, opt)
		if diff := cmp.Diff(readerLines(files), readAll(t, image)); diff != "" {
			t.Errorf("%s: go-diskfs reads something else (-want +got):\n%s", opt.Encoder(), diff)
		}
	})
}
