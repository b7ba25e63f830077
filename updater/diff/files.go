package diff

import (
	"cmp"
	"crypto/sha256"
	"iter"
	"slices"
	"strings"

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
