package conformance_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An object is what a path stands for. All fields are compared.
type object struct {
	Type     string // one letter, as ls shows it; "-" is a regular file
	Mode     uint32 // with setuid, setgid and sticky
	UID, GID uint32
	Size     int64 // of regular files
	ModTime  int64
	Target   string // of symlinks
	Rdev     string // of devices, "major:minor"
	Links    int    // names of this object; of directories, 2 + directories in it
	Same     string // first name of an object that has several
	Xattrs   string // JSON of names and values
	SHA256   string // of regular files
}

// A listing has the objects of a tree by path; "." is the root.
type listing map[string]object

var typeLetters = map[uint32]string{
	unix.S_IFREG: "-", unix.S_IFDIR: "d", unix.S_IFLNK: "l", unix.S_IFCHR: "c", unix.S_IFBLK: "b", unix.S_IFIFO: "p", unix.S_IFSOCK: "s",
}

// list lists a directory. An ordinary user's own files are made readable for
// the moment. The links of directories are the file system's.
func list(root string) (listing, error) {
	l := listing{}
	inodes := map[string]uint64{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("reading %q: %w", rel, err)
		}
		if l[rel], err = objectAt(path, &st); err != nil {
			return fmt.Errorf("reading %q: %w", rel, err)
		}
		inodes[rel] = st.Ino
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", root, err)
	}
	l.setLinks(inodes)
	return l, nil
}

func objectAt(path string, st *unix.Stat_t) (object, error) {
	o := object{Type: typeLetters[st.Mode&unix.S_IFMT], Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, ModTime: st.Mtim.Sec, Links: int(st.Nlink)}
	var err error
	switch o.Type {
	case "-":
		o.Size = st.Size
		o.SHA256, err = digest(path, o.Mode)
	case "l":
		o.Target, err = os.Readlink(path)
	case "c", "b":
		o.Rdev = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	case "d":
		if os.Geteuid() != 0 && o.Mode&0o700 != 0o700 {
			err = os.Chmod(path, 0o700) // this tree is removed after it was listed
		}
	}
	if err != nil {
		return o, err
	}
	o.Xattrs, err = xattrs(path)
	return o, err
}

func digest(path string, mode uint32) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		if err := os.Chmod(path, 0o600); err != nil {
			return "", err
		}
		f, err = os.Open(path)
		err = errors.Join(err, unix.Chmod(path, mode))
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// An xattr is an extended attribute.
type xattr struct {
	Name  string
	Value []byte
}

func xattrs(path string) (string, error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, buf)
	if errors.Is(err, unix.ENOTSUP) || err == nil && n == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var all []xattr
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("attribute %q: %w", name, err)
		}
		all = append(all, xattr{name, value[:n]})
	}
	return formatXattrs(all), nil
}

// formatXattrs leaves out what the machine of the tests, and not the image,
// puts on files: umoci's note of an owner that it could not set, and the label
// of a kernel with SELinux.
func formatXattrs(all []xattr) string {
	all = slices.DeleteFunc(all, func(x xattr) bool {
		return x.Name == "user.rootlesscontainers" || x.Name == "security.selinux"
	})
	if len(all) == 0 {
		return ""
	}
	slices.SortFunc(all, func(a, b xattr) int { return cmp.Compare(a.Name, b.Name) })
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// xattrList takes an object's attributes apart.
func (o object) xattrList() (all []xattr) {
	if o.Xattrs == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(o.Xattrs), &all); err != nil {
		panic(err)
	}
	return all
}

// xattrs are an object's attributes without those that are named.
func (o object) xattrs(without ...string) string {
	return formatXattrs(slices.DeleteFunc(o.xattrList(), func(x xattr) bool { return slices.Contains(without, x.Name) }))
}

// setLinks fills in which names share an object.
func (l listing) setLinks(inodes map[string]uint64) {
	first := map[uint64]string{}
	for _, path := range l.paths() {
		o := l[path]
		if o.Type == "d" || o.Links < 2 {
			continue
		}
		if first[inodes[path]] == "" {
			first[inodes[path]] = path
		}
		o.Same = first[inodes[path]]
		l[path] = o
	}
}

// countDirs sets the links of directories by what is in them: the file systems
// that programs extract to have ideas of their own.
func (l listing) countDirs() {
	dirs := map[string]int{}
	for path, o := range l {
		if o.Type == "d" && path != "." {
			dirs[filepath.Dir(path)]++
		}
	}
	for path, o := range l {
		if o.Type == "d" {
			o.Links = 2 + dirs[path]
			l[path] = o
		}
	}
}

// paths are sorted.
func (l listing) paths() []string {
	paths := make([]string, 0, len(l))
	for path := range l {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}
