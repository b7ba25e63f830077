package diff

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"
	"time"

	"github.com/abupdate/abupdate/internal/fstree"
)

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
