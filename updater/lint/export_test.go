package lint

import (
	"slices"

	"github.com/abupdate/abupdate/internal/fstree"
)

// InitPaths is what the initramfs must look for, too.
var InitPaths = initPaths

// TmpfilesMade returns what a list of tmpfiles.d creates, sorted; trees are
// paths that come with what is below them.
func TmpfilesMade(text string, links map[string]string) (made, globs []string) {
	t := newTree(nil, Options{})
	for name, to := range links {
		t.addLink(fstree.Entry{Path: name, Type: fstree.Symlink, Linkname: to})
	}
	f := tmpfiles{made: map[string]bool{}, trees: map[string]bool{}}
	f.parseText(t, text)
	for name := range f.made {
		made = append(made, name)
	}
	slices.Sort(made)
	return made, f.globs
}
