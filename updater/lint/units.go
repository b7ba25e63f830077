package lint

import (
	"maps"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// unitDirs are where systemd looks for units, the first that has one counts
// (systemd.unit(5)). What an image has in /run is hidden on a device.
var unitDirs = []string{"etc/systemd/system/", "usr/local/lib/systemd/system/", "usr/lib/systemd/system/", "lib/systemd/system/"}

// A unitProbe reads systemd's units. Other probes judge them.
type unitProbe struct {
	paths   map[string]string   // unit to its path, by precedence
	dropins map[string][]string // unit to paths
	wanted  map[string][]string // unit to the links that start it
	parsed  map[string]unit
	pulled  map[string]bool // units that another one names
}

// A unit holds the assignments of a unit and its drop-ins, sections aside: no
// key that is asked for here is in two.
type unit map[string][]string

func (u *unitProbe) entry(_ *tree, e fstree.Entry) {
	if u.paths == nil {
		u.paths, u.dropins, u.wanted = map[string]string{}, map[string][]string{}, map[string][]string{}
	}
	if e.Type == fstree.Directory {
		return
	}
	for i, dir := range unitDirs {
		rest, ok := strings.CutPrefix(e.Path, dir)
		if !ok {
			continue
		}
		sub, name, inside := strings.Cut(rest, "/")
		switch {
		case !inside:
			if old := u.paths[rest]; old == "" || i < precedence(old) {
				u.paths[rest] = e.Path
			}
		case strings.HasSuffix(sub, ".wants") || strings.HasSuffix(sub, ".requires") || strings.HasSuffix(sub, ".upholds"):
			u.wanted[name] = append(u.wanted[name], e.Path)
		case strings.HasSuffix(sub, ".d") && strings.HasSuffix(name, ".conf"):
			of := strings.TrimSuffix(sub, ".d")
			u.dropins[of] = append(u.dropins[of], e.Path)
		}
	}
}

func precedence(name string) int {
	return slices.IndexFunc(unitDirs, func(dir string) bool { return strings.HasPrefix(name, dir) })
}

func (u *unitProbe) want(t *tree) {
	for _, name := range slices.Sorted(maps.Keys(u.paths)) {
		t.ask(u.paths[name], textLimit)
	}
	for _, name := range slices.Sorted(maps.Keys(u.dropins)) {
		for _, p := range u.dropins[name] {
			t.ask(p, textLimit)
		}
	}
}

// check parses what was read; the probes that judge come later.
func (u *unitProbe) check(t *tree) {
	u.parsed, u.pulled = map[string]unit{}, map[string]bool{}
	for name, p := range u.paths {
		parsed := unit{}
		parsed.parse(t.text(p))
		for _, d := range slices.Sorted(slices.Values(u.dropins[name])) {
			parsed.parse(t.text(d))
		}
		u.parsed[name] = parsed
		for _, key := range []string{"Wants", "Requires", "BindsTo", "Upholds", "Unit"} {
			for _, other := range parsed.words(key) {
				u.pulled[other] = true
			}
		}
	}
}

// parse adds the assignments in a unit file. An empty one takes back those
// before it.
func (u unit) parse(text string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' || line[0] == '[' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if value == "" {
			delete(u, key)
			continue
		}
		u[key] = append(u[key], value)
	}
}

// words are the values of a key that is a list.
func (u unit) words(key string) []string {
	var words []string
	for _, v := range u[key] {
		words = append(words, strings.Fields(v)...)
	}
	return words
}

// present says whether systemd finds a unit of this name: a file, an alias,
// a template's instance, a script of System V's init, or one that it makes up.
func (u *unitProbe) present(t *tree, name string) bool {
	for _, suffix := range []string{".device", ".mount", ".automount", ".swap", ".slice", ".scope"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	for _, n := range []string{name, template(name)} {
		if p := u.paths[n]; p != "" && (t.exists(p) || u.masked(t, n)) {
			return true
		}
	}
	script, ok := strings.CutSuffix(name, ".service")
	return ok && t.exists("etc/init.d/"+script)
}

// template is foo@.service for foo@bar.service, else the name.
func template(name string) string {
	at, dot := strings.IndexByte(name, '@'), strings.LastIndexByte(name, '.')
	if at < 0 || dot < at {
		return name
	}
	return name[:at+1] + name[dot:]
}

// masked says whether a unit is switched off: a link to /dev/null, or empty.
func (u *unitProbe) masked(t *tree, name string) bool {
	p := u.paths[name]
	if p == "" {
		return false
	}
	if t.place(p) == "dev/null" {
		return true
	}
	e, ok := t.img.Lookup(p)
	return ok && e.Type == fstree.Regular && e.Size == 0
}

// enabled says whether something starts the unit.
func (u *unitProbe) enabled(t *tree, name string) bool {
	if u.masked(t, name) {
		return false
	}
	if len(u.wanted[name]) > 0 {
		return true
	}
	return u.pulled[name]
}

// aliases are the names of units that lead to the same file as name.
func (u *unitProbe) aliases(t *tree, name string) []string {
	names := []string{name}
	if p := u.paths[name]; p != "" && !u.masked(t, name) {
		at := t.place(p)
		for other, op := range u.paths {
			if other != name && t.place(op) == at {
				names = append(names, other)
			}
		}
	}
	return names
}

// systemd says whether the image's init is systemd.
func systemd(t *tree) bool {
	name, _, ok := t.program(initPaths...)
	return ok && base(t.place(name)) == "systemd"
}
