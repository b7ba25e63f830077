package diff

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A File is one name in an image.
type File struct {
	fstree.Entry
	// Sum is that of a regular file's content; it is wanted where Pairs says.
	Sum [sha256.Size]byte
}

// A Kind is what became of a file or package.
type Kind string

// The kinds. A file with Content changed may have other metadata as well; one
// with Metadata changed has the same content.
const (
	Added      Kind = "added"
	Removed    Kind = "removed"
	Content    Kind = "content"
	Metadata   Kind = "metadata"
	Upgraded   Kind = "upgraded"   // a package
	Downgraded Kind = "downgraded" // a package
)

// A Detail is one property that differs, in words.
type Detail struct {
	Name string `json:"name"`
	Old  string `json:"old"`
	New  string `json:"new"`
}

// A FileChange is what became of one name.
type FileChange struct {
	Path string `json:"path"` // from the root, with a leading slash
	Kind Kind   `json:"change"`
	// OldBytes and NewBytes are the lengths of regular files. A further name
	// of a file that has another one counts nothing.
	OldBytes int64    `json:"old_bytes"`
	NewBytes int64    `json:"new_bytes"`
	Details  []Detail `json:"details,omitempty"`
}

// Bytes is how large a change is. Other metadata alone has no size.
func (c FileChange) Bytes() int64 {
	if c.Kind == Metadata {
		return max(c.OldBytes-c.NewBytes, c.NewBytes-c.OldBytes)
	}
	return max(c.OldBytes, c.NewBytes)
}

// FileCount is how many names there are of a kind, and what they hold.
type FileCount struct {
	Files    int   `json:"files"`
	OldBytes int64 `json:"old_bytes"`
	NewBytes int64 `json:"new_bytes"`
}

// FileChanges are the differences of two lists of files.
type FileChanges struct {
	Added    FileCount `json:"added"`
	Removed  FileCount `json:"removed"`
	Content  FileCount `json:"content"`
	Metadata FileCount `json:"metadata"`
	Same     FileCount `json:"unchanged"`
	// TimeOnly are those with Metadata changed that only have another time.
	TimeOnly int          `json:"metadata_time_only"`
	Changes  []FileChange `json:"changes"` // the largest first
}

// Pairs are the places in two lists of the files whose contents must be
// compared: regular ones of one path and one length. The lists are sorted by
// path.
func Pairs(before, after []File) iter.Seq2[int, int] {
	return func(yield func(i, j int) bool) {
		b, a := newList(before), newList(after)
		for i, j := range merge(before, after) {
			if i < 0 || j < 0 {
				continue
			}
			i, j = b.object(i), a.object(j)
			if comparable(&before[i], &after[j]) && !yield(i, j) {
				return
			}
		}
	}
}

// comparable says whether only their contents can tell files apart.
func comparable(a, b *File) bool {
	return a.Type == fstree.Regular && b.Type == fstree.Regular && a.Size == b.Size && a.Size > 0
}

// Files compares two lists that are sorted by path and have the Sums that Pairs
// asks for.
func Files(before, after []File) FileChanges {
	var all FileChanges
	b, a := newList(before), newList(after)
	for i, j := range merge(before, after) {
		var c FileChange
		switch {
		case j < 0:
			c = FileChange{Path: "/" + before[i].Path, Kind: Removed, OldBytes: before[i].Size}
		case i < 0:
			c = FileChange{Path: "/" + after[j].Path, Kind: Added, NewBytes: after[j].Size}
		default:
			c = compare(&before[i], &after[j], &before[b.object(i)], &after[a.object(j)])
		}
		all.count(c)
	}
	slices.SortStableFunc(all.Changes, func(a, b FileChange) int { return cmp.Compare(b.Bytes(), a.Bytes()) })
	return all
}

func (all *FileChanges) count(c FileChange) {
	n := &all.Same
	switch c.Kind {
	case Added:
		n = &all.Added
	case Removed:
		n = &all.Removed
	case Content:
		n = &all.Content
	case Metadata:
		n = &all.Metadata
		if len(c.Details) == 1 && c.Details[0].Name == "time" {
			all.TimeOnly++
		}
	}
	n.Files++
	n.OldBytes += c.OldBytes
	n.NewBytes += c.NewBytes
	if c.Kind != "" {
		all.Changes = append(all.Changes, c)
	}
}

// A list finds the objects of hardlinks.
type list struct {
	files []File
	first map[string]int // of names that hardlinks name
}

func newList(files []File) list {
	l := list{files, make(map[string]int)}
	for i := range files {
		if files[i].Type == fstree.Hardlink {
			l.first[files[i].Linkname] = -1
		}
	}
	for i := range files {
		if _, ok := l.first[files[i].Path]; ok {
			l.first[files[i].Path] = i
		}
	}
	return l
}

// object is where the file stands that name i is a name of.
func (l list) object(i int) int {
	if l.files[i].Type == fstree.Hardlink {
		if k := l.first[l.files[i].Linkname]; k >= 0 {
			return k
		}
	}
	return i
}

// merge gives the places of equal paths in two sorted lists, -1 where one has
// none.
func merge(before, after []File) iter.Seq2[int, int] {
	return func(yield func(i, j int) bool) {
		for i, j := 0, 0; i < len(before) || j < len(after); {
			order := 0
			switch {
			case i == len(before):
				order = 1
			case j == len(after):
				order = -1
			default:
				order = strings.Compare(before[i].Path, after[j].Path)
			}
			a, b := i, j
			if order > 0 {
				a = -1
			} else {
				i++
			}
			if order < 0 {
				b = -1
			} else {
				j++
			}
			if !yield(a, b) {
				return
			}
		}
	}
}

// compare compares names b and a, which are names of the objects ob and oa.
func compare(b, a, ob, oa *File) FileChange {
	c := FileChange{Path: "/" + a.Path, OldBytes: b.Size, NewBytes: a.Size}
	detail := func(name, before, after string) {
		if before != after {
			c.Details = append(c.Details, Detail{name, before, after})
		}
	}
	detail("type", ob.Type.String(), oa.Type.String())
	detail("mode", mode(ob), mode(oa))
	detail("owner", owner(ob), owner(oa))
	detail("time", mtime(ob), mtime(oa))
	if ob.Type == oa.Type {
		detail("target", target(ob), target(oa))
	}
	detail("hardlink to", hardlink(b), hardlink(a))
	xattrs(ob.Xattrs, oa.Xattrs, detail)
	if len(c.Details) > 0 {
		c.Kind = Metadata
	}
	if ob.Type == fstree.Regular && oa.Type == fstree.Regular && (ob.Size != oa.Size || ob.Sum != oa.Sum) {
		c.Kind = Content
	}
	return c
}

func mode(f *File) string  { return fmt.Sprintf("%04o", f.Mode) }
func owner(f *File) string { return fmt.Sprintf("%d:%d", f.UID, f.GID) }
func mtime(f *File) string { return time.Unix(f.ModTime, 0).UTC().Format(time.RFC3339) }

// target is where a symlink or device leads.
func target(f *File) string {
	switch f.Type {
	case fstree.Symlink:
		return f.Linkname
	case fstree.CharDevice, fstree.BlockDevice:
		return fmt.Sprintf("%d:%d", f.Major, f.Minor)
	}
	return ""
}

func hardlink(f *File) string {
	if f.Type == fstree.Hardlink {
		return "/" + f.Linkname
	}
	return ""
}

// xattrs compares sets that are sorted by name.
func xattrs(before, after []fstree.Xattr, detail func(name, before, after string)) {
	for len(before) > 0 || len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0].Name < after[0].Name:
			detail(before[0].Name, value(before[0].Value), "")
			before = before[1:]
		case len(before) == 0 || after[0].Name < before[0].Name:
			detail(after[0].Name, "", value(after[0].Value))
			after = after[1:]
		default:
			if !bytes.Equal(before[0].Value, after[0].Value) {
				detail(before[0].Name, value(before[0].Value), value(after[0].Value))
			}
			before, after = before[1:], after[1:]
		}
	}
}

// value shows an attribute; long ones are told apart by a digest.
func value(b []byte) string {
	const long = 64
	if len(b) > long {
		return fmt.Sprintf("%d bytes, sha256 %x", len(b), sha256.Sum256(b))
	}
	return strconv.QuoteToASCII(string(b))
}
