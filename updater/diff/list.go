package diff

import (
	"fmt"
	"strconv"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A Listed is a File for printing.
type Listed struct {
	Path   string `json:"path"` // from the root, with a leading slash
	Type   string `json:"type"`
	Mode   string `json:"mode,omitempty"` // octal
	UID    uint32 `json:"uid"`
	GID    uint32 `json:"gid"`
	Time   string `json:"time,omitempty"`
	Bytes  int64  `json:"bytes"`
	Target string `json:"target,omitempty"` // of a symlink or hardlink; MAJOR:MINOR of a device
	// Xattrs are values by name, with what is not printable escaped.
	Xattrs map[string]string `json:"xattrs,omitempty"`
}

// List makes files printable. A hardlink has its path and target only.
func List(files []File) []Listed {
	list := make([]Listed, len(files))
	for i := range files {
		f := &files[i]
		l := Listed{Path: "/" + f.Path, Type: f.Type.String()}
		if f.Type == fstree.Hardlink {
			l.Target = hardlink(f)
		} else {
			l.Mode, l.UID, l.GID, l.Time, l.Bytes, l.Target = mode(f), f.UID, f.GID, mtime(f), f.Size, target(f)
		}
		for _, x := range f.Xattrs {
			if l.Xattrs == nil {
				l.Xattrs = make(map[string]string, len(f.Xattrs))
			}
			quoted := strconv.QuoteToASCII(string(x.Value))
			l.Xattrs[x.Name] = quoted[1 : len(quoted)-1]
		}
		list[i] = l
	}
	return list
}

// Owner is UID:GID.
func (l Listed) Owner() string { return fmt.Sprintf("%d:%d", l.UID, l.GID) }
