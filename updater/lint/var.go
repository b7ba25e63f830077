package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A varProbe looks at what an image has in /var. The initramfs makes folders
// that are missing at every boot, with all that is in them, and adds missing
// files once for each image; it never changes or removes what is there. So
// folders are no finding, and files are: a later image does not change them.
type varProbe struct {
	tmpfiles tmpfiles
	found    bool // there are files
}

func (p *varProbe) entry(t *tree, e fstree.Entry) {
	p.tmpfiles.entry(e)
	if !strings.HasPrefix(e.Path, "var/") {
		return
	}
	switch e.Type {
	case fstree.Directory:
	case fstree.Regular, fstree.Symlink, fstree.Hardlink:
		p.found = true
	default:
		t.found("var-special-file", e.Path, "a "+e.Type.String())
	}
}

func (p *varProbe) want(t *tree) { p.tmpfiles.want(t) }

// packageState is what package managers and their scripts keep in /var.
var packageState = []string{
	"var/lib/dpkg", "var/lib/apt", "var/lib/ucf", "var/lib/pam", "var/lib/shells.state", "var/lib/python", "var/lib/python3", "var/lib/xml-core",
	"var/lib/sgml-base", "var/lib/emacsen-common", "var/lib/dictionaries-common", "var/lib/aspell", "var/lib/ispell", "var/lib/vim",
	"var/lib/initramfs-tools", "var/lib/misc", "var/lib/usbutils", "var/lib/rpm", "var/lib/rpm-state", "var/lib/alternatives", "var/lib/dnf",
	"var/lib/yum", "var/lib/zypp", "var/lib/pacman", "var/lib/portage", "var/lib/apk", "var/lib/authselect",
}

// packageStatePrefix starts the names of what deb-systemd-helper writes.
const packageStatePrefix = "var/lib/systemd/deb-systemd-"

// leftovers are made again by the programs that want them.
var leftovers = []string{
	"var/cache", "var/log", "var/tmp", "var/backups", "var/lib/apt/lists", "var/lib/systemd/catalog", "var/lib/man-db", "var/lib/plocate",
}

// minLeftovers is the size from which on leftovers are worth a word.
const minLeftovers = 1 << 20

// A heap counts files below one folder.
type heap struct {
	files int
	bytes int64
}

func (h heap) String() string {
	if h.files == 1 {
		return fmt.Sprintf("1 file, %d bytes", h.bytes)
	}
	return fmt.Sprintf("%d files, %d bytes", h.files, h.bytes)
}

func (p *varProbe) check(t *tree) {
	p.tmpfiles.parse(t)
	if !p.found {
		return
	}
	rest, left, packages := map[string]*heap{}, map[string]*heap{}, map[string]*heap{}
	add := func(to map[string]*heap, key string, e fstree.Entry) {
		if to[key] == nil {
			to[key] = &heap{}
		}
		to[key].files++
		to[key].bytes += e.Size
	}
	homes := []string{t.place("root"), t.place("home")}
	for e := range t.img.Entries() {
		if !p.stays(t, e, homes) {
			continue
		}
		switch {
		case belowAny(e.Path, leftovers...):
			add(left, firstOf(e.Path, leftovers), e)
		case belowAny(e.Path, packageState...) || strings.HasPrefix(e.Path, packageStatePrefix):
			add(packages, firstNames(e.Path, 3), e)
		default:
			add(rest, firstNames(e.Path, 3), e)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(rest)) {
		t.found("var-content", dir, rest[dir].String())
	}
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		if packages[dir].bytes > 0 {
			t.found("var-package-state", dir, packages[dir].String())
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(left)) {
		if left[dir].bytes >= minLeftovers {
			t.found("leftovers", dir, left[dir].String())
		}
	}
}

// stays says whether e is a file of /var that would get old on a device and
// that no other rule tells of.
func (p *varProbe) stays(t *tree, e fstree.Entry, homes []string) bool {
	switch {
	case !strings.HasPrefix(e.Path, "var/"):
		return false
	case e.Type == fstree.Regular && e.Size == 0:
		return false
	case e.Type == fstree.Symlink && (below(t.place(e.Path), "var") || runtimePlace(t.place(e.Path))):
		return false
	case e.Type != fstree.Regular && e.Type != fstree.Symlink && e.Type != fstree.Hardlink:
		return false
	case identity(e.Path) || isSecretName(e.Path) || below(e.Path, ownState):
		return false
	}
	for _, home := range homes {
		if below(home, "var") && below(e.Path, home) {
			return false // people's own, whatever an image starts them with
		}
	}
	return !p.tmpfiles.creates(e.Path)
}

// ownState is abupdate's own folder on a device.
const ownState = "var/lib/abupdate"

func firstOf(name string, dirs []string) string {
	for _, dir := range dirs {
		if below(name, dir) {
			return dir
		}
	}
	return name
}

// runtimePlace says whether a path is only filled on a running device.
func runtimePlace(name string) bool { return belowAny(name, "run", "proc", "sys", "dev", "tmp") }
