package lint

import (
	"maps"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A serviceProbe looks at services that get on badly with a root that is read
// only underneath and new at every boot.
type serviceProbe struct {
	units      *unitProbe
	repart     []string
	sshConfigs []string
	hostKeys   bool
	usrTime    int64
	etcTime    int64
	etcUpdated bool
}

func (p *serviceProbe) entry(_ *tree, e fstree.Entry) {
	dir, name := parent(e.Path), base(e.Path)
	switch {
	case e.Path == "usr":
		p.usrTime = e.ModTime
	case e.Path == "etc/.updated":
		p.etcTime, p.etcUpdated = e.ModTime, true
	case (dir == "usr/lib/repart.d" || dir == "etc/repart.d") && strings.HasSuffix(name, ".conf"):
		p.repart = append(p.repart, e.Path)
	case e.Path == "etc/ssh/sshd_config" || e.Path == "usr/etc/ssh/sshd_config" || strings.HasSuffix(dir, "ssh/sshd_config.d"):
		p.sshConfigs = append(p.sshConfigs, e.Path)
	case isHostKey(e.Path):
		p.hostKeys = true
	}
}

func (p *serviceProbe) want(t *tree) {
	for _, name := range p.sshConfigs {
		t.ask(name, textLimit)
	}
}

func (p *serviceProbe) check(t *tree) {
	if !systemd(t) {
		return
	}
	if name := "default.target"; !p.units.present(t, name) || !p.units.masked(t, name) && !t.exists(p.units.paths[name]) {
		t.found("no-default-target", "usr/lib/systemd/system/"+name, "")
	}
	p.checkLinks(t)
	if len(p.repart) > 0 && p.units.enabled(t, "systemd-repart.service") {
		t.foundf("repart", p.repart[0], "%d files", len(p.repart))
	}
	p.checkSSH(t)
	for _, name := range updaters {
		if p.units.paths[name] != "" && p.units.enabled(t, name) {
			t.found("package-updates", p.units.paths[name], "it is enabled")
		}
	}
	p.checkUpdated(t)
	p.checkFirstBoot(t)
}

// updaters are units that change packages, or the system by other means than
// abupdate.
var updaters = []string{
	"apt-daily-upgrade.timer", "dnf-automatic.timer", "dnf-automatic-install.timer", "dnf5-automatic.timer", "yum-cron.service",
	"zypp-refresh.timer", "transactional-update.timer", "rpm-ostreed-automatic.timer", "bootc-fetch-apply-updates.timer",
	"zincati.service", "snapd.snap-repair.timer", "systemd-sysupdate.timer",
}

// checkLinks finds enabled units that do not exist.
func (p *serviceProbe) checkLinks(t *tree) {
	for _, name := range slices.Sorted(maps.Keys(p.units.wanted)) {
		if p.units.present(t, name) {
			continue
		}
		for _, link := range p.units.wanted[name] {
			t.found("dangling-unit", link, "there is no unit "+name)
		}
	}
}

// checkSSH looks for where sshd gets its keys from.
func (p *serviceProbe) checkSSH(t *tree) {
	if _, _, ok := t.tool("sshd"); !ok || p.hostKeys {
		return
	}
	if !slices.ContainsFunc([]string{"ssh.service", "sshd.service", "ssh.socket", "sshd.socket"}, func(n string) bool { return p.units.enabled(t, n) }) {
		return
	}
	for _, name := range p.sshConfigs {
		for line := range strings.Lines(t.text(name)) {
			if words := strings.Fields(line); len(words) > 1 && strings.EqualFold(words[0], "HostKey") && below(t.place(words[1]), "var") {
				return
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.units.parsed)) {
		u := p.units.parsed[name]
		for _, key := range []string{"ExecStart", "ExecStartPre"} {
			if !p.units.masked(t, name) && strings.Contains(strings.Join(u[key], " "), "keygen") {
				t.found("ssh-host-key-changes", p.units.paths[name], "it makes keys in /etc/ssh")
				return
			}
		}
	}
	t.found("ssh-no-host-key", "etc/ssh", "")
}

// checkUpdated finds what runs at every boot because /etc seems to be older
// than /usr (ConditionNeedsUpdate= in systemd.unit(5)).
func (p *serviceProbe) checkUpdated(t *tree) {
	if p.etcUpdated && p.etcTime >= p.usrTime {
		return
	}
	var names []string
	for name, u := range p.units.parsed {
		if v := u["ConditionNeedsUpdate"]; (slices.Contains(v, "/etc") || slices.Contains(v, "|/etc")) && p.units.enabled(t, name) {
			names = append(names, name)
		}
	}
	if slices.Sort(names); len(names) > 0 {
		t.found("update-at-every-boot", "etc/.updated", strings.Join(names, ", "))
	}
}

// checkFirstBoot finds units that wait for a first boot, which never comes: a
// machine ID is there before init starts.
func (p *serviceProbe) checkFirstBoot(t *tree) {
	for _, name := range slices.Sorted(maps.Keys(p.units.parsed)) {
		if strings.HasPrefix(name, "systemd-") || strings.HasSuffix(name, ".target") { // nobody misses what these do
			continue
		}
		for _, v := range p.units.parsed[name]["ConditionFirstBoot"] {
			if (v == "yes" || v == "true" || v == "1") && p.units.enabled(t, name) {
				t.found("never-first-boot", p.units.paths[name], "")
			}
		}
	}
}
