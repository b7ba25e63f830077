package oci_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// The model flattens layers with nothing but a map from path to object, and
// strings. It is slow, and meant to be obviously right.

type object struct{ found }

type model map[string]*object // hardlinks share an object

var errModel = errors.New("refused by the model")

// flattenModel returns the entries sorted by path.
func flattenModel(layers [][]item) ([]found, error) {
	m := model{"": {found{Entry: fstree.Entry{Type: fstree.Directory, Mode: 0o755}}}}
	for _, l := range layers {
		if err := m.apply(l); err != nil {
			return nil, err
		}
	}
	var all []found
	first := map[*object]string{}
	for _, p := range m.paths() {
		o := m[p]
		f := o.found
		f.Path = p
		if name, ok := first[o]; ok {
			f = found{Entry: fstree.Entry{Path: p, Type: fstree.Hardlink, Linkname: name}}
		} else {
			first[o] = p
		}
		all = append(all, f)
	}
	return all, nil
}

func (m model) paths() []string {
	var ps []string
	for p := range m {
		ps = append(ps, p)
	}
	slices.Sort(ps)
	return ps
}

// clean is a name without "./" and slashes that mean nothing.
func clean(name string) (string, error) {
	depth := 0
	for _, p := range strings.Split(name, "/") {
		if p == ".." {
			depth--
		} else if p != "" && p != "." {
			depth++
		}
		if depth < 0 {
			return "", fmt.Errorf("%w: %q climbs", errModel, name)
		}
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

func under(p, dir string) bool { return dir == "" && p != "" || strings.HasPrefix(p, dir+"/") }

func parent(p string) string {
	d := path.Dir(p)
	if d == "." {
		return ""
	}
	return d
}

// follow follows the symlinks in dir, starting below from. at says what a
// path is: a symlink's target, or "".
func follow(from, dir string, at func(string) string, budget *int) (string, error) {
	cur := from
	for _, name := range strings.Split(dir, "/") {
		cur = strings.TrimPrefix(path.Clean("/"+cur+"/"+name), "/")
		if name == "" || name == "." || name == ".." {
			continue
		}
		to := at(cur)
		if to == "" {
			continue
		}
		if *budget--; *budget < 0 {
			return "", fmt.Errorf("%w: symlinks without end", errModel)
		}
		base := parent(cur)
		if strings.HasPrefix(to, "/") {
			base = ""
		}
		var err error
		if cur, err = follow(base, to, at, budget); err != nil {
			return "", err
		}
	}
	return cur, nil
}

func (m model) resolve(dir string) (string, error) {
	budget := 255
	return follow("", dir, func(p string) string {
		if o := m[p]; o != nil && o.Type == fstree.Symlink {
			return o.Linkname
		}
		return ""
	}, &budget)
}

func (m model) isDir(p string) bool { o := m[p]; return o != nil && o.Type == fstree.Directory }

func (m model) apply(items []item) error {
	hidden, err := m.hide(items)
	if err != nil {
		return err
	}
	for _, it := range items {
		name, err := clean(it.Name)
		if err != nil {
			return err
		}
		if strings.HasPrefix(path.Base(name), ".wh.") {
			continue
		}
		if err := m.add(name, it, hidden); err != nil {
			return err
		}
	}
	return nil
}

// hide takes away what the layer's whiteouts name, and returns it.
func (m model) hide(items []item) (model, error) {
	own := map[string]item{} // the layer's own entries, the last of each name
	for _, it := range items {
		if name, err := clean(it.Name); err == nil && !strings.HasPrefix(path.Base(name), ".wh.") {
			own[name] = it
		}
	}
	hidden := model{}
	for _, it := range items {
		name, err := clean(it.Name)
		if err != nil {
			return nil, err
		}
		wh, ok := strings.CutPrefix(path.Base(name), ".wh.")
		if !ok {
			continue
		}
		if wh == "" || wh == "." || wh == ".." {
			return nil, fmt.Errorf("%w: whiteout of nothing", errModel)
		}
		gone, dir, err := m.whiteoutDir(parent(name), own)
		if err != nil {
			return nil, err
		}
		if gone || !m.isDir(dir) {
			continue
		}
		for p, o := range m {
			target := strings.TrimPrefix(dir+"/"+wh, "/")
			if wh == ".wh..opq" && under(p, dir) || p == target || under(p, target) {
				hidden[p] = o
			}
		}
	}
	for p := range hidden {
		delete(m, p)
	}
	return hidden, nil
}

// whiteoutDir is where a whiteout's directory lies in lower layers. It is gone
// when the layer itself puts something else there, or above it.
func (m model) whiteoutDir(dir string, own map[string]item) (gone bool, at string, err error) {
	isGone := func(p string) bool {
		return slices.ContainsFunc(ancestors(p), func(q string) bool {
			it, mine := own[q]
			return mine && it.Typeflag != tar.TypeSymlink && (it.Typeflag != tar.TypeDir || !m.isDir(q))
		})
	}
	budget := 255
	at, err = follow("", dir, func(p string) string {
		if it, mine := own[p]; mine {
			if it.Typeflag == tar.TypeSymlink {
				return it.Linkname
			}
			return ""
		}
		if o := m[p]; o != nil && o.Type == fstree.Symlink && !isGone(p) {
			return o.Linkname
		}
		return ""
	}, &budget)
	return isGone(at), at, err
}

func (m model) add(name string, it item, hidden model) error {
	o, err := objectOf(it)
	if err != nil {
		return err
	}
	if name == "" {
		if it.Typeflag != tar.TypeDir {
			return fmt.Errorf("%w: root of another type", errModel)
		}
		m[""] = o
		return nil
	}
	dir, err := m.resolve(parent(name))
	if err != nil {
		return err
	}
	for _, p := range ancestors(dir) {
		if m[p] == nil {
			m[p] = &object{found{Entry: fstree.Entry{Type: fstree.Directory, Mode: 0o755}}}
		}
		if !m.isDir(p) {
			return fmt.Errorf("%w: %q lies below a file", errModel, name)
		}
	}
	full := strings.TrimPrefix(dir+"/"+path.Base(name), "/")
	if !m.isDir(full) || it.Typeflag != tar.TypeDir {
		for p := range m {
			if p == full || under(p, full) {
				delete(m, p)
			}
		}
	}
	if it.Typeflag == tar.TypeLink {
		if o, err = m.target(it.Linkname, hidden); err != nil {
			return err
		}
	}
	m[full] = o
	return nil
}

func (m model) target(name string, hidden model) (*object, error) {
	name, err := clean(name)
	if err != nil {
		return nil, err
	}
	dir, err := m.resolve(parent(name))
	if err != nil {
		return nil, err
	}
	full := strings.TrimPrefix(dir+"/"+path.Base(name), "/")
	if name == "" {
		full = ""
	}
	o := m[full]
	if o == nil {
		o = hidden[full]
	}
	if o == nil || o.Type == fstree.Directory {
		return nil, fmt.Errorf("%w: hardlink to nothing or to a directory", errModel)
	}
	return o, nil
}

// ancestors of a/b/c are a, a/b and a/b/c.
func ancestors(p string) []string {
	var out []string
	for p != "" {
		out = append([]string{p}, out...)
		p = parent(p)
	}
	return out
}

var typeOf = map[byte]fstree.Type{
	tar.TypeReg: fstree.Regular, tar.TypeCont: fstree.Regular, tar.TypeDir: fstree.Directory,
	tar.TypeSymlink: fstree.Symlink, tar.TypeChar: fstree.CharDevice, tar.TypeBlock: fstree.BlockDevice,
	tar.TypeFifo: fstree.FIFO, tar.TypeLink: fstree.Hardlink,
}

func objectOf(it item) (*object, error) {
	o := &object{found{Entry: fstree.Entry{
		Mode: uint16(it.Mode & 0o7777), UID: uint32(it.Uid), GID: uint32(it.Gid), ModTime: it.ModTime.Unix(),
	}}}
	if o.Type = typeOf[it.Typeflag]; o.Type == 0 {
		return nil, fmt.Errorf("%w: type %q", errModel, it.Typeflag)
	}
	switch o.Type {
	case fstree.Regular:
		o.Size, o.content = int64(len(it.body)), it.body
	case fstree.Symlink:
		o.Linkname, o.Mode = it.Linkname, 0o777
	case fstree.CharDevice, fstree.BlockDevice:
		o.Major, o.Minor = uint32(it.Devmajor), uint32(it.Devminor)
	}
	for key, value := range it.PAXRecords {
		name, ok := strings.CutPrefix(key, "SCHILY.xattr.")
		if ok && !strings.Contains(name, ".overlay.") && !strings.HasPrefix(name, "system.") {
			o.Xattrs = append(o.Xattrs, fstree.Xattr{Name: name, Value: []byte(value)})
		}
	}
	fstree.SortXattrs(o.Xattrs)
	return o, nil
}

// modelTaken lists the files that a first pass from the highest layer down
// takes, by names alone: those that no upper layer names, covers or whites out.
// A layer that is listed several times counts where it is listed highest.
func modelTaken(layers [][]item) []collected {
	var taken []collected
	names, trees := map[string]bool{}, map[string]bool{} // hidden: the name itself, what is below it
	seen := map[string]bool{}
	for _, l := range slices.Backward(layers) {
		if key := fmt.Sprint(l); seen[key] {
			continue
		} else {
			seen[key] = true
		}
		for _, it := range l {
			name, _ := clean(it.Name)
			hidden := names[name] || trees[""] || slices.ContainsFunc(ancestors(parent(name)), func(p string) bool { return trees[p] })
			if typeOf[it.Typeflag] == fstree.Regular && !strings.HasPrefix(path.Base(name), ".wh.") && it.body != "" && !hidden {
				taken = append(taken, collected{name, it.body})
			}
		}
		for _, it := range l {
			name, _ := clean(it.Name)
			wh, isWhiteout := strings.CutPrefix(path.Base(name), ".wh.")
			switch {
			case wh == ".wh..opq":
				trees[parent(name)] = true
			case isWhiteout:
				name = strings.TrimPrefix(parent(name)+"/"+wh, "/")
				names[name], trees[name] = true, true
			default:
				names[name] = true
				trees[name] = trees[name] || it.Typeflag != tar.TypeDir
			}
		}
	}
	return taken
}
