package diff

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/bootctl"
)

// A Package is one that a package manager has installed.
type Package struct {
	Name         string `json:"name"`
	Version      string `json:"version"`
	Architecture string `json:"architecture,omitempty"`
	Bytes        int64  `json:"installed_bytes"` // by the package's own word
}

// A PackageChange is what became of one package.
type PackageChange struct {
	Name       string `json:"name"`
	Kind       Kind   `json:"change"`
	OldVersion string `json:"old_version,omitempty"`
	NewVersion string `json:"new_version,omitempty"`
	OldBytes   int64  `json:"old_installed_bytes"`
	NewBytes   int64  `json:"new_installed_bytes"`
}

// PackageChanges are the differences of two sets of packages.
type PackageChanges struct {
	Added      int   `json:"added"`
	Removed    int   `json:"removed"`
	Upgraded   int   `json:"upgraded"`
	Downgraded int   `json:"downgraded"`
	Same       int   `json:"unchanged"`
	OldBytes   int64 `json:"old_installed_bytes"` // of all packages
	NewBytes   int64 `json:"new_installed_bytes"`
	// Changes are sorted by their difference in size, the largest first.
	Changes []PackageChange `json:"changes"`
}

// Packages compares two sets of packages.
func Packages(before, after []Package) PackageChanges {
	var all PackageChanges
	plain := oncePerName(before, after)
	b, a := byKey(before, plain), byKey(after, plain)
	keys := maps.Clone(b)
	maps.Copy(keys, a)
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		p, had := b[key]
		q, has := a[key]
		c := PackageChange{Name: key, OldVersion: p.Version, NewVersion: q.Version, OldBytes: p.Bytes, NewBytes: q.Bytes}
		all.OldBytes += p.Bytes
		all.NewBytes += q.Bytes
		order := compareVersions(q.Version, p.Version)
		switch {
		case !had:
			c.Kind, all.Added = Added, all.Added+1
		case !has:
			c.Kind, all.Removed = Removed, all.Removed+1
		case order > 0 || order == 0 && p.Version != q.Version:
			c.Kind, all.Upgraded = Upgraded, all.Upgraded+1
		case order < 0:
			c.Kind, all.Downgraded = Downgraded, all.Downgraded+1
		default:
			all.Same++
			continue
		}
		all.Changes = append(all.Changes, c)
	}
	slices.SortStableFunc(all.Changes, func(a, b PackageChange) int { return cmp.Compare(b.size(), a.size()) })
	return all
}

func (c PackageChange) size() int64 { return max(c.NewBytes-c.OldBytes, c.OldBytes-c.NewBytes) }

// oncePerName are the names that neither set has for two architectures.
func oncePerName(sets ...[]Package) map[string]bool {
	once := make(map[string]bool)
	for _, set := range sets {
		seen := make(map[string]bool)
		for _, p := range set {
			if _, known := once[p.Name]; !known {
				once[p.Name] = true
			}
			if seen[p.Name] {
				once[p.Name] = false
			}
			seen[p.Name] = true
		}
	}
	return once
}

// byKey names packages as dpkg does: with the architecture where there are
// several.
func byKey(packages []Package, plain map[string]bool) map[string]Package {
	m := make(map[string]Package, len(packages))
	for _, p := range packages {
		key := p.Name
		if !plain[p.Name] {
			key += ":" + p.Architecture
		}
		m[key] = p
	}
	return m
}

// compareVersions orders Debian versions: [epoch:]upstream[-revision]. It does
// for apk's.
func compareVersions(a, b string) int {
	ea, ua, ra := splitVersion(a)
	eb, ub, rb := splitVersion(b)
	return cmp.Or(cmp.Compare(ea, eb), bootctl.CompareVersions(ua, ub), bootctl.CompareVersions(ra, rb))
}

func splitVersion(v string) (epoch int, upstream, revision string) {
	if e, rest, ok := strings.Cut(v, ":"); ok {
		if n, err := strconv.Atoi(e); err == nil {
			epoch, v = n, rest
		}
	}
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return epoch, v[:i], v[i+1:]
	}
	return epoch, v, ""
}
