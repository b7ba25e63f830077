package selector

import (
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
)

// clean removes what is left of cuts and of selectors before the former one:
// files and entries of abupdate's only.
func (p *planner) clean() {
	keep := []string{p.w.Current}
	for _, e := range p.firstOwn(2) {
		keep = append(keep, e.File)
	}
	if p.rec.Default != nil {
		keep = append(keep, Path(p.rec.Default.Digest))
	}
	if p.rec.Trial != nil {
		keep = append(keep, Path(p.rec.Trial.Digest))
	}
	if p.state() == Due && p.w.WantedFile == p.w.Want.Digest {
		keep = append(keep, Path(p.w.Want.Digest))
	}
	failed := func(name string) bool {
		return !same(name, p.w.Current) && slices.ContainsFunc(p.rec.Failed, func(d string) bool { return same(name, Path(d)) })
	}
	kept := func(name string) bool {
		return !failed(name) && slices.ContainsFunc(keep, func(k string) bool { return same(k, name) })
	}
	for _, e := range slices.Clone(p.w.Entries) {
		if strings.HasPrefix(e.Label, label) && isOwn(e.File) && !kept(e.File) {
			p.forget(e)
		}
	}
	for _, f := range slices.Clone(p.w.Files) {
		if isOwn(f.Name) && !kept(f.Name) {
			p.remove(f)
		}
	}
	p.cleanReplacement()
}

// cleanReplacement removes a file that was to replace the fallback path.
func (p *planner) cleanReplacement() {
	for _, f := range slices.Clone(p.w.Files) {
		if same(f.Name, Replacement(p.w.Fallback)) && !p.shared() {
			p.remove(f)
		}
	}
}

// shared says that a cut in the rename may have left two names of the same
// clusters, where a folder is larger than a sector: to remove one would take
// the other. Only then are both the same.
func (p *planner) shared() bool {
	return p.w.ReplacementDigest != "" && p.w.ReplacementDigest == p.w.FallbackDigest
}

// firstOwn are the first entries in the order that start own files.
func (p *planner) firstOwn(n int) (list []Entry) {
	for _, number := range p.order {
		e := p.w.entry(func(e Entry) bool { return e.Number == number })
		if e != nil && isOwn(e.File) && len(list) < n {
			list = append(list, *e)
		}
	}
	return list
}

// put writes a file when there is room, for which the former selector makes
// way if it must. from is a name on the ESP, "" the slot's. An own file is
// written under its name, which nothing starts before it is whole; what the
// firmware may start is replaced.
func (p *planner) put(file, from, digest string, size int64) error {
	step := Step{Kind: PutFile, File: file, From: from, Digest: digest}
	if same(file, p.w.Fallback) {
		if step.Via = Replacement(file); p.shared() {
			return fault.Errorf(fault.Refused, "%s and %s may share clusters since the power went: fsck.fat is needed", step.Via, file)
		}
	}
	need := p.w.Room.takes(size) + 2*p.w.Room.Cluster // folders may grow
	var former, damaged []File
	could := p.free
	for _, f := range p.w.Files {
		if isOwn(file) && same(f.Name, file) { // damaged: there is no way over it but to make room first
			could += p.w.Room.takes(f.Size)
			damaged = []File{f}
		}
		isDefault := p.rec.Default != nil && same(f.Name, Path(p.rec.Default.Digest))
		if could < need && isOwn(f.Name) && !isDefault && !same(f.Name, p.w.Current) && !same(f.Name, Path(p.w.Want.Digest)) {
			former = append(former, f)
			could += p.w.Room.takes(f.Size)
		}
	}
	if could < need {
		return fault.Errorf(fault.NoRoom, "the ESP has %d bytes free, selector %.12s needs %d", p.free, digest, need)
	}
	for _, f := range former {
		p.remove(f)
	}
	for _, f := range damaged { // its boot entry stays
		p.drop(f)
	}
	p.free -= need
	p.add(step)
	return nil
}

func (p *planner) size(name string) int64 {
	for _, f := range p.w.Files {
		if same(f.Name, name) {
			return f.Size
		}
	}
	return 0
}
