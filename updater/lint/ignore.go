package lint

import (
	"fmt"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// IgnorePath is the list of findings that an image itself says are all right:
// one rule's name a line, then, if it means one path or what is below it
// alone, that path; a reason after "#".
const IgnorePath = "usr/lib/abupdate/lint-ignore"

// An Ignore leaves findings out.
type Ignore struct {
	Name string
	Path string // "" for all
}

func (ig Ignore) matches(f Finding) bool {
	return ig.Name == f.Name && (ig.Path == "" || below(strings.TrimPrefix(f.Path, "/"), ig.Path))
}

// ParseIgnore reads "NAME" or "NAME PATH". A name that no rule has is an
// error.
func ParseIgnore(s string) (Ignore, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 || len(fields) > 2 {
		return Ignore{}, fmt.Errorf("%q is not NAME or NAME PATH", s)
	}
	if _, ok := ruleIndex[fields[0]]; !ok {
		return Ignore{}, fmt.Errorf("no rule is called %q", fields[0])
	}
	ig := Ignore{Name: fields[0]}
	if len(fields) == 2 {
		ig.Path = strings.Trim(fields[1], "/")
	}
	return ig, nil
}

// An ignoreProbe reads the image's own list.
type ignoreProbe struct{}

func (*ignoreProbe) entry(*tree, fstree.Entry) {}
func (*ignoreProbe) want(t *tree)              { t.ask(IgnorePath, textLimit) }

func (*ignoreProbe) check(t *tree) {
	n := 0
	for line := range strings.Lines(t.text(IgnorePath)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		ig, err := ParseIgnore(line)
		if err != nil {
			// Not an error: the image may be for a later abupdate than this.
			t.foundf("unknown-ignore", IgnorePath, "line %d: %v", n, err)
			continue
		}
		t.opt.Ignore = append(t.opt.Ignore, ig)
	}
}
