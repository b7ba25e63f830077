package squashfstest

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A File is an entry and, for a regular file, what is in it.
type File struct {
	fstree.Entry
	Content Content
}

// A record is one line of a listing.
type record struct {
	path     string
	typ      fstree.Type
	mode     uint32
	uid, gid uint32
	mtime    int64
	size     int64  // of regular files
	sum      string // of regular files
	target   string
	major    uint32
	minor    uint32
	xattrs   []fstree.Xattr
	nlink    uint64
	same     string // first path with the same inode, where nlink is more than 1
}

// String makes one line of ASCII without spaces inside the fields.
func (r record) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s type=%s mode=%04o uid=%d gid=%d mtime=%d nlink=%d", quote(r.path),
		strings.ReplaceAll(r.typ.String(), " ", "-"), r.mode, r.uid, r.gid, r.mtime, r.nlink)
	switch r.typ {
	case fstree.Regular:
		fmt.Fprintf(&b, " size=%d sha256=%s", r.size, r.sum)
	case fstree.Symlink:
		fmt.Fprintf(&b, " target=%s", quote(r.target))
	case fstree.CharDevice, fstree.BlockDevice:
		fmt.Fprintf(&b, " rdev=%d:%d", r.major, r.minor)
	}
	if r.same != "" {
		fmt.Fprintf(&b, " same=%s", quote(r.same))
	}
	for _, x := range r.xattrs {
		fmt.Fprintf(&b, " %s=%s", quote(x.Name), hex.EncodeToString(x.Value))
	}
	return b.String()
}

func quote(s string) string { return strings.ReplaceAll(strconv.QuoteToASCII(s), " ", `\x20`) }

// format sorts records, fills in same by the inode numbers given for them, and
// joins the lines.
func format(records []record, inodes []uint64) string {
	order := make([]int, len(records))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(records[a].path, records[b].path) })
	first := make(map[uint64]string)
	var b strings.Builder
	for _, i := range order {
		r := records[i]
		if r.typ != fstree.Directory && r.nlink > 1 {
			if _, ok := first[inodes[i]]; !ok {
				first[inodes[i]] = r.path
			}
			r.same = first[inodes[i]]
		}
		b.WriteString(r.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Expected returns the listing of an image made of files: what List returns
// for it once mounted. Directories that only a path names are expected with
// mode 0755 of root and time 0. It panics on a tree that makes no sense.
func Expected(files ...File) string {
	byPath := map[string]int{}
	for i, f := range files {
		byPath[f.Path] = i
	}
	addImplicit(&files, byPath)
	targets := make([]uint64, len(files))
	nlink := make([]uint64, len(files))
	for i, f := range files {
		t := i
		for files[t].Type == fstree.Hardlink {
			next, ok := byPath[files[t].Linkname]
			if !ok {
				panic(fmt.Sprintf("hardlink %q to nothing", f.Path))
			}
			t = next
		}
		targets[i] = uint64(t)
		nlink[t]++
		if f.Type == fstree.Directory {
			nlink[t]++
			if f.Path != "" {
				nlink[byPath[parent(f.Path)]]++
			}
		}
	}
	records := make([]record, len(files))
	sums := map[int]string{}
	for i, f := range files {
		t := int(targets[i])
		records[i] = expect(f.Path, files[t], nlink[t])
		if files[t].Type != fstree.Regular {
			continue
		}
		if _, ok := sums[t]; !ok {
			s, err := sum(files[t].Content, files[t].Size)
			if err != nil {
				panic(err)
			}
			sums[t] = s
		}
		records[i].sum = sums[t]
	}
	return format(records, targets)
}

func expect(path string, f File, nlink uint64) record {
	r := record{path: path, typ: f.Type, mode: uint32(f.Mode), uid: f.UID, gid: f.GID, nlink: nlink,
		mtime: min(max(f.ModTime, 0), math.MaxUint32), xattrs: f.Xattrs}
	switch f.Type {
	case fstree.Regular:
		r.size = f.Size
	case fstree.Symlink:
		r.target = f.Linkname
	case fstree.CharDevice, fstree.BlockDevice:
		r.major, r.minor = f.Major, f.Minor
	}
	return r
}

func addImplicit(files *[]File, byPath map[string]int) {
	var missing func(path string)
	missing = func(path string) {
		if _, ok := byPath[path]; ok {
			return
		}
		byPath[path] = len(*files)
		*files = append(*files, File{Entry: fstree.Entry{Path: path, Type: fstree.Directory, Mode: 0o755}})
		if path != "" {
			missing(parent(path))
		}
	}
	missing("")
	for _, f := range *files {
		if f.Path != "" {
			missing(parent(f.Path))
		}
	}
}

func parent(path string) string {
	return path[:max(strings.LastIndexByte(path, '/'), 0)]
}
