package oci

import (
	"archive/tar"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

const (
	maxName        = 255
	whiteoutPrefix = ".wh."
	opaqueMarker   = ".wh..wh..opq"
	xattrRecord    = "SCHILY.xattr."
	aclRecord      = "SCHILY.acl."
)

// A header is one entry of a layer, as far as flattening needs it.
type header struct {
	fstree.Entry // Path is clean; for a whiteout the name that it hides, for an opaque marker its directory
	kind         headerKind
	ordinal      uint32   // counts the tar's entries from 0
	dropped      []string // names of extended attributes that were left out
}

type headerKind uint8

const (
	object headerKind = iota
	whiteout
	opaque
)

// metadataBytes estimates the memory that h holds.
func (h *header) metadataBytes() int64 {
	n := int64(len(h.Path) + len(h.Linkname))
	for _, x := range h.Xattrs {
		n += int64(len(x.Name) + len(x.Value))
	}
	return n
}

// cleanName makes a tar name a path from the root without a leading slash.
// Absolute names are meant to lie below the root too; a name that climbs out
// of it is refused, where umoci and docker would bend it.
func cleanName(name string) (string, error) {
	parts := strings.Split(name, "/")
	kept := parts[:0]
	for _, p := range parts {
		switch p {
		case "", ".":
		case "..":
			if len(kept) == 0 {
				return "", fmt.Errorf("name climbs out of the root with \"..\"")
			}
			kept = kept[:len(kept)-1]
		default:
			if len(p) > maxName {
				return "", fmt.Errorf("name of %d bytes; a file system holds %d", len(p), maxName)
			}
			kept = append(kept, p)
		}
	}
	if name = strings.Join(kept, "/"); len(name) >= maxPath {
		return "", fmt.Errorf("path of %d bytes; the kernel takes %d", len(name), maxPath-1)
	}
	return name, nil
}

// convert makes a header of a tar header. ok is false for what is no entry of
// the file system.
func convert(th *tar.Header) (h header, ok bool, err error) {
	if th.Typeflag == tar.TypeXGlobalHeader {
		return h, false, nil // git archive writes one; no extractor applies it
	}
	if h.Path, err = cleanName(th.Name); err != nil {
		return h, false, err
	}
	dir, base := splitPath(h.Path)
	switch {
	case base == opaqueMarker:
		h.kind, h.Path = opaque, dir
		return h, true, nil
	case strings.HasPrefix(base, whiteoutPrefix):
		name := base[len(whiteoutPrefix):]
		if name == "" || name == "." || name == ".." {
			return h, false, fmt.Errorf("whiteout of %q", name)
		}
		h.kind, h.Path = whiteout, joinPath(dir, name)
		return h, true, nil
	}
	if err := h.setType(th); err != nil {
		return h, false, err
	}
	if err := h.setOwner(th); err != nil {
		return h, false, err
	}
	h.ModTime = th.ModTime.Unix()
	if len(th.PAXRecords) > 0 {
		h.setXattrs(th.PAXRecords)
		// Names may be parts of a far longer string of records.
		h.Path, h.Linkname = strings.Clone(h.Path), strings.Clone(h.Linkname)
	}
	return h, true, nil
}

func (h *header) setType(th *tar.Header) (err error) {
	h.Mode = uint16(th.Mode & 0o7777)
	switch th.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		h.Type, h.Size = fstree.Regular, th.Size
	case tar.TypeDir:
		h.Type = fstree.Directory
	case tar.TypeSymlink:
		h.Type, h.Linkname, h.Mode = fstree.Symlink, th.Linkname, 0o777
		if th.Linkname == "" || len(th.Linkname) >= maxPath {
			return fmt.Errorf("symlink to a name of %d bytes", len(th.Linkname))
		}
	case tar.TypeLink:
		h.Type = fstree.Hardlink
		if h.Linkname, err = cleanName(th.Linkname); err != nil {
			return fmt.Errorf("hardlink to %q: %w", th.Linkname, err)
		}
	case tar.TypeChar, tar.TypeBlock:
		h.Type = fstree.CharDevice
		if th.Typeflag == tar.TypeBlock {
			h.Type = fstree.BlockDevice
		}
		// The kernel's limits: 12 bits of major, 20 of minor number.
		if th.Devmajor < 0 || th.Devmajor >= 1<<12 || th.Devminor < 0 || th.Devminor >= 1<<20 {
			return fmt.Errorf("device number %d:%d is out of range", th.Devmajor, th.Devminor)
		}
		h.Major, h.Minor = uint32(th.Devmajor), uint32(th.Devminor)
	case tar.TypeFifo:
		h.Type = fstree.FIFO
	default:
		return fmt.Errorf("entries of tar type %q are not supported", th.Typeflag)
	}
	if h.Path == "" && h.Type != fstree.Directory {
		return fmt.Errorf("the root is a %v", h.Type)
	}
	return nil
}

func (h *header) setOwner(th *tar.Header) error {
	if th.Uid < 0 || uint64(th.Uid) > math.MaxUint32 || th.Gid < 0 || uint64(th.Gid) > math.MaxUint32 {
		return fmt.Errorf("owner %d:%d is out of range", th.Uid, th.Gid)
	}
	h.UID, h.GID = uint32(th.Uid), uint32(th.Gid)
	return nil
}

// setXattrs takes extended attributes out of PAX records. What squashfs cannot
// hold is left out, and what the overlay on top of it would take for its own.
func (h *header) setXattrs(records map[string]string) {
	for key, value := range records {
		if name, ok := strings.CutPrefix(key, xattrRecord); ok {
			if keepXattr(name) {
				h.Xattrs = append(h.Xattrs, fstree.Xattr{Name: strings.Clone(name), Value: []byte(value)})
			} else {
				h.dropped = append(h.dropped, strings.Clone(name))
			}
		} else if strings.HasPrefix(key, aclRecord) {
			h.dropped = append(h.dropped, strings.Clone(key)) // an ACL as text, by star and GNU tar
		}
	}
	fstree.SortXattrs(h.Xattrs)
	slices.Sort(h.dropped)
}

func keepXattr(name string) bool {
	for _, prefix := range []string{"trusted.overlay.", "user.overlay."} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	for _, prefix := range []string{"user.", "trusted.", "security."} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" {
			return true
		}
	}
	return false
}

// splitPath cuts the last name off a clean path.
func splitPath(p string) (dir, base string) {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i], p[i+1:]
	}
	return "", p
}

func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
