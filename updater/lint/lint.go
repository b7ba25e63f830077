// Package lint looks at an image before it is built and tells what makes it
// unfit for abupdate, or risky. It works over an interface, knows nothing of
// registries and disks, and changes nothing.
//
// Each finding belongs to a rule of Rules, whose name stays the same from one
// version to the next: pipelines ignore by it.
package lint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// An Image is the flattened file system of an image. Paths are from the root,
// without a leading slash.
type Image interface {
	// Entries gives every entry once.
	Entries() iter.Seq[fstree.Entry]
	// Lookup finds the entry at a path, symlinks followed inside the image;
	// for a hardlink that of its first name.
	Lookup(path string) (fstree.Entry, bool)
	// ReadFiles returns the contents of regular files, at most limit bytes in
	// all. Each call may cost a pass over the layers.
	ReadFiles(ctx context.Context, paths []string, limit int64) (map[string][]byte, error)
}

// Options is what is known of an image besides its files, and what to check.
type Options struct {
	Architecture string            // from the image's configuration, in OCI's words
	Labels       map[string]string // likewise
	Dropped      map[string]int    // extended attributes that were left out: name to number of files

	Layers     int
	Compressed int64 // bytes of all layers

	Version     string // that it is given instead of its own; "" for none
	Compression string // of the squashfs: "zstd", which "" is, "gzip" or "none"

	Slot       int64 // bytes of the slot that it has to fit in; 0: none is known
	ExactBytes int64 // of the squashfs, when it was made; 0: it is estimated

	Ignore []Ignore
}

// Severity says how bad a finding is.
type Severity uint8

// The severities, the least first.
const (
	Note    Severity = iota + 1 // worth knowing
	Warning                     // works, with a risk
	Error                       // does not boot, or does not keep working
)

var severityNames = [...]string{Note: "note", Warning: "warning", Error: "error"}

// String names the severity.
func (s Severity) String() string {
	if int(s) < len(severityNames) && severityNames[s] != "" {
		return severityNames[s]
	}
	return fmt.Sprintf("severity %d", uint8(s))
}

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A Finding is one thing that was found.
type Finding struct {
	Name     string   `json:"name"` // of the rule
	Severity Severity `json:"severity"`
	Path     string   `json:"path,omitempty"`   // with a leading slash
	Detail   string   `json:"detail,omitempty"` // what is wrong with this one
	Reason   string   `json:"reason"`           // why it matters
	Mend     string   `json:"mend"`
}

// maxPerRule bounds the findings of one rule: an image with a million wrong
// times has one mistake.
const maxPerRule = 100

// A Report is what Check found, the worst first; within a rule by path.
type Report struct {
	Findings []Finding      `json:"findings"`
	Errors   int            `json:"errors"`
	Warnings int            `json:"warnings"`
	Notes    int            `json:"notes"`
	Ignored  int            `json:"ignored"`
	Omitted  map[string]int `json:"omitted,omitempty"` // findings of a rule that are counted, not listed
}

func (r *Report) count(s Severity) {
	switch s {
	case Error:
		r.Errors++
	case Warning:
		r.Warnings++
	default:
		r.Notes++
	}
}

// A probe looks at one side of an image. All get every entry, then name the
// files that they want to read, then judge.
type probe interface {
	entry(t *tree, e fstree.Entry)
	want(t *tree)
	check(t *tree)
}

// Check looks at an image. It reads its files in one pass.
func Check(ctx context.Context, img Image, opt Options) (*Report, error) {
	t := newTree(img, opt)
	units, vars := &unitProbe{}, &varProbe{}
	probes := []probe{
		&ignoreProbe{}, &kernelProbe{}, &programProbe{}, units, &confirmProbe{units: units}, &serviceProbe{units: units},
		versionProbe{}, &etcProbe{}, vars, &linkProbe{tmpfiles: &vars.tmpfiles}, &secretProbe{}, &metaProbe{}, &sizeProbe{},
	}
	for e := range img.Entries() {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		t.addLink(e)
		for _, p := range probes {
			p.entry(t, e)
		}
	}
	for _, p := range probes {
		p.want(t)
	}
	if err := t.read(ctx); err != nil {
		return nil, err
	}
	for _, p := range probes {
		p.check(t)
	}
	return t.finish()
}

// found records a finding. The name must be that of a rule.
func (t *tree) found(name, path, detail string) {
	i, ok := ruleIndex[name]
	if !ok {
		t.err = errors.Join(t.err, fmt.Errorf("linting: no rule %q", name))
		return
	}
	r := rules[i]
	if path != "" {
		path = "/" + strings.TrimPrefix(path, "/")
	}
	t.all = append(t.all, Finding{Name: name, Severity: r.Severity, Path: path, Detail: detail, Reason: r.Reason, Mend: r.Mend})
}

func (t *tree) foundf(name, path, format string, args ...any) {
	t.found(name, path, fmt.Sprintf(format, args...))
}

// finish sorts, ignores and counts.
func (t *tree) finish() (*Report, error) {
	if t.err != nil {
		return nil, t.err
	}
	slices.SortStableFunc(t.all, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(ruleIndex[a.Name], ruleIndex[b.Name]),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Detail, b.Detail))
	})
	r := &Report{Findings: []Finding{}}
	listed := map[string]int{}
	for _, f := range t.all {
		switch {
		case t.ignored(f):
			r.Ignored++
			continue
		case listed[f.Name] >= maxPerRule:
			if r.Omitted == nil {
				r.Omitted = map[string]int{}
			}
			r.Omitted[f.Name]++
		default:
			listed[f.Name]++
			r.Findings = append(r.Findings, f)
		}
		r.count(f.Severity)
	}
	return r, nil
}

func (t *tree) ignored(f Finding) bool {
	for _, ig := range t.opt.Ignore {
		if ig.matches(f) {
			return true
		}
	}
	return false
}
