package lint

import (
	"context"
	"path"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

const (
	// readLimit bounds what is read of an image's files, in bytes.
	readLimit = 128 << 20
	// textLimit bounds one file that is looked into for words.
	textLimit = 256 << 10
	// maxLinks is how many symlinks the kernel follows.
	maxLinks = 40
)

// A tree is what the probes share of one image.
type tree struct {
	img Image
	opt Options
	// links maps each symlink to its target.
	links map[string]string
	// wanted are the files to read, contents what they hold, by first name.
	wanted   []string
	size     int64
	contents map[string][]byte
	asked    map[string]bool

	all []Finding
	err error
}

func newTree(img Image, opt Options) *tree {
	return &tree{img: img, opt: opt, links: map[string]string{}, contents: map[string][]byte{}, asked: map[string]bool{}}
}

func (t *tree) addLink(e fstree.Entry) {
	switch e.Type {
	case fstree.Symlink:
		t.links[e.Path] = e.Linkname
	case fstree.Hardlink:
		if target, ok := t.links[e.Linkname]; ok {
			t.links[e.Path] = target
		}
	}
}

// resolve follows every symlink of a path inside the image, the last one too.
// What it leads to need not exist. It is false for a loop.
func (t *tree) resolve(name string) (string, bool) {
	todo := strings.Split(strings.TrimPrefix(path.Clean("/"+name), "/"), "/")
	done := ""
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = parent(done)
			continue
		}
		next := join(done, part)
		target, ok := t.links[next]
		if !ok {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", false
		}
		if strings.HasPrefix(target, "/") {
			done = ""
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return done, true
}

// place is where a path leads to; the path itself for a loop.
func (t *tree) place(name string) string {
	if p, ok := t.resolve(name); ok {
		return p
	}
	return name
}

// exists says whether a path leads to something.
func (t *tree) exists(name string) bool {
	_, ok := t.img.Lookup(name)
	return ok
}

// program finds the first of names that leads to an executable file.
func (t *tree) program(names ...string) (name string, e fstree.Entry, ok bool) {
	for _, name := range names {
		if e, ok := t.img.Lookup(name); ok && e.Type == fstree.Regular && e.Mode&0o111 != 0 {
			return name, e, true
		}
	}
	return "", fstree.Entry{}, false
}

// programDirs are where initramfs.findTool looks for programs.
var programDirs = []string{"usr/sbin/", "sbin/", "usr/bin/", "bin/", "usr/local/sbin/", "usr/local/bin/"}

// tool finds a program where programs are.
func (t *tree) tool(name string) (string, fstree.Entry, bool) {
	var names []string
	for _, dir := range programDirs {
		names = append(names, dir+name)
	}
	return t.program(names...)
}

// ask wants a file's content, unless it has more than limit bytes.
func (t *tree) ask(name string, limit int64) {
	e, ok := t.img.Lookup(name)
	if !ok || e.Type != fstree.Regular || t.asked[e.Path] {
		return
	}
	t.asked[e.Path] = true
	if e.Size == 0 {
		return
	}
	if e.Size > limit || t.size+e.Size > readLimit {
		t.foundf("not-read", e.Path, "%d bytes", e.Size)
		return
	}
	t.size += e.Size
	t.wanted = append(t.wanted, e.Path)
}

func (t *tree) read(ctx context.Context) error {
	if len(t.wanted) == 0 {
		return nil
	}
	files, err := t.img.ReadFiles(ctx, t.wanted, readLimit)
	if err != nil {
		return err
	}
	t.contents = files
	return nil
}

// content is what ask has read; nil for what it has not.
func (t *tree) content(name string) []byte {
	e, ok := t.img.Lookup(name)
	if !ok {
		return nil
	}
	return t.contents[e.Path]
}

func (t *tree) text(name string) string { return string(t.content(name)) }

// below says whether a path is dir or in it.
func below(name, dir string) bool {
	return name == dir || dir == "" || strings.HasPrefix(name, dir) && name[len(dir)] == '/'
}

// belowAny says whether a path is one of dirs or in one of them.
func belowAny(name string, dirs ...string) bool {
	for _, dir := range dirs {
		if below(name, dir) {
			return true
		}
	}
	return false
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func parent(name string) string {
	i := strings.LastIndexByte(name, '/')
	return name[:max(i, 0)]
}

func base(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// firstNames cuts a path after its first n names.
func firstNames(name string, n int) string {
	for i := range len(name) {
		if name[i] == '/' {
			if n--; n == 0 {
				return name[:i]
			}
		}
	}
	return name
}
