package lint

import (
	"maps"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// confirmUnit is what updater/units calls it.
const confirmUnit = "abupdate-mark-good.service"

// A confirmProbe sees whether anything confirms a good boot.
type confirmProbe struct {
	units   *unitProbe
	scripts []string // of other inits, that are started
}

func (p *confirmProbe) entry(t *tree, e fstree.Entry) {
	// OpenRC: etc/runlevels/LEVEL/NAME; System V: etc/rcN.d/S..NAME; runit,
	// s6: a folder of services.
	if e.Type != fstree.Directory && strings.Contains(base(e.Path), "abupdate") &&
		(strings.HasPrefix(e.Path, "etc/runlevels/") || strings.HasPrefix(e.Path, "etc/rc") || strings.HasPrefix(e.Path, "etc/s6")) {
		p.scripts = append(p.scripts, e.Path)
	}
	if isCheck(e.Path) && e.Type == fstree.Regular && e.Mode&0o111 == 0 {
		t.found("health-check-not-executable", e.Path, "")
	}
}

// isCheck says whether abupdate health runs what lies at a path.
func isCheck(p string) bool {
	for _, dir := range []string{"usr/lib/abupdate/health.d/", "etc/abupdate/health.d/"} {
		if name, ok := strings.CutPrefix(p, dir); ok {
			name = strings.TrimPrefix(name, "wanted/")
			return !strings.Contains(name, "/") && !strings.HasPrefix(name, ".") && !strings.HasSuffix(name, "~")
		}
	}
	return false
}

func (p *confirmProbe) want(t *tree) {
	t.ask("etc/inittab", textLimit)
	t.ask("etc/rc.local", textLimit)
}

func (p *confirmProbe) check(t *tree) {
	if _, _, ok := t.program(initPaths...); !ok {
		return
	}
	if !systemd(t) {
		if len(p.scripts) == 0 && !runsConfirm(t.text("etc/inittab")+t.text("etc/rc.local")) {
			t.found("mark-good-unknown", "", "")
		}
		return
	}
	var off []string
	for _, name := range slices.Sorted(maps.Keys(p.units.parsed)) {
		u := p.units.parsed[name]
		if !confirms(u) || p.units.masked(t, name) {
			continue
		}
		if slices.ContainsFunc(p.units.aliases(t, name), func(n string) bool { return p.units.enabled(t, n) }) {
			p.checkUnit(t, name, u)
			return
		}
		off = append(off, name)
	}
	switch {
	case p.units.masked(t, confirmUnit):
		t.found("mark-good-not-enabled", p.units.paths[confirmUnit], "it is masked")
	case len(off) > 0:
		t.found("mark-good-not-enabled", p.units.paths[off[0]], "no .wants or .requires folder has a link to it")
	default:
		t.found("mark-good-not-enabled", "usr/lib/systemd/system/"+confirmUnit, "it is not there, and no other unit runs abupdate health or mark-good")
	}
}

// confirms says whether a unit runs abupdate health or mark-good.
func confirms(u unit) bool {
	for key, values := range u {
		if strings.HasPrefix(key, "Exec") && slices.ContainsFunc(values, runsConfirm) {
			return true
		}
	}
	return false
}

// runsConfirm says whether a command line, or a script, confirms the slot.
func runsConfirm(text string) bool {
	return strings.Contains(text, "mark-good") || strings.Contains(text, "abupdate health")
}

// checkUnit sees whether what the unit requires is there.
func (p *confirmProbe) checkUnit(t *tree, name string, u unit) {
	needs := u.words("Requires")
	if slices.ContainsFunc(u["ExecStart"], func(v string) bool { return strings.Contains(v, "abupdate health") }) {
		needs = append(needs, "boot-complete.target") // which is its first check
	}
	for _, dep := range needs {
		if !p.units.present(t, dep) || p.units.masked(t, dep) {
			t.found("mark-good-not-enabled", p.units.paths[name], "it requires "+dep+", which is missing or masked")
		}
	}
	for _, cmd := range u["ExecStart"] {
		words := strings.Fields(strings.TrimLeft(cmd, "@-:+!|"))
		if len(words) > 0 && strings.HasPrefix(words[0], "/") && !t.exists(words[0]) {
			t.found("mark-good-not-enabled", p.units.paths[name], "it runs "+words[0]+", which is not there")
		}
	}
}
