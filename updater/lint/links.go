package lint

import (
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A linkProbe judges symlinks, when all of them are known.
type linkProbe struct {
	paths    []string
	tmpfiles *tmpfiles // parsed by the probe before
}

func (p *linkProbe) entry(_ *tree, e fstree.Entry) {
	if e.Type == fstree.Symlink {
		p.paths = append(p.paths, e.Path)
	}
}

func (p *linkProbe) want(*tree) {}

func (p *linkProbe) check(t *tree) {
	for _, name := range p.paths {
		to, ok := t.resolve(name)
		if !ok {
			t.found("dangling-link", name, "it leads in circles")
			continue
		}
		if to == "" || runtimePlace(to) || p.tmpfiles.creates(to) {
			continue
		}
		if important(name) && !t.exists(to) {
			t.found("dangling-link", name, "it leads to /"+to+", which is not there")
		}
		if below(name, "usr") && strings.HasPrefix(t.links[name], "/") {
			outOfUsr(t, name, to)
		}
	}
}

// outOfUsr judges an absolute link in /usr by where it ends. /etc is made of
// the same image: alternatives and configuration are found there on a device.
func outOfUsr(t *tree, name, to string) {
	switch {
	case belowAny(to, "usr", "etc", "boot"):
	case below(to, "var"):
		t.found("usr-link-to-var", name, "it leads to /"+to)
	default:
		t.found("usr-link-outside", name, "it leads to /"+to)
	}
}

// important says whether somebody misses what a link leads to: a program, a
// shared library, a configuration that the boot reads.
func important(name string) bool {
	dir, file := parent(name), base(name)
	switch {
	case below(name, "usr/share") || below(name, "var"):
		return false
	case strings.HasSuffix(dir, "/bin"), strings.HasSuffix(dir, "/sbin"), dir == "bin", dir == "sbin":
		return true
	case strings.HasPrefix(dir, "usr/lib") || strings.HasPrefix(dir, "lib"):
		return strings.Contains(file, ".so.") || below(dir, "usr/lib/modules") && file == "vmlinuz"
	case dir == "etc":
		return file != "mtab"
	case dir == "etc/pam.d", dir == "etc/ssl":
		return true
	case dir == "etc/alternatives":
		return !strings.HasSuffix(file, ".gz") // manual pages
	}
	return dir == "" && (file == "bin" || file == "sbin" || strings.HasPrefix(file, "lib") || file == "usr" || file == "etc")
}
