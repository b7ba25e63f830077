package lint

import (
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// An etcProbe looks at configuration that means another kind of system.
type etcProbe struct {
	cmdlines []string
	labelled bool // some file has an SELinux label
}

func (p *etcProbe) entry(_ *tree, e fstree.Entry) {
	switch {
	case e.Path == "etc/kernel/cmdline", e.Path == "usr/lib/kernel/cmdline", e.Path == "etc/initramfs-tools/conf.d/resume",
		strings.HasPrefix(e.Path, "usr/lib/bootc/kargs.d/") && strings.HasSuffix(e.Path, ".toml"):
		p.cmdlines = append(p.cmdlines, e.Path)
	}
	for _, x := range e.Xattrs {
		p.labelled = p.labelled || x.Name == "security.selinux"
	}
}

func (p *etcProbe) want(t *tree) {
	for _, name := range append(p.cmdlines, "etc/fstab", "etc/passwd", "etc/selinux/config") {
		t.ask(name, textLimit)
	}
}

func (p *etcProbe) check(t *tree) {
	checkFstab(t)
	checkHomes(t)
	for _, name := range p.cmdlines {
		text := strings.TrimSpace(t.text(name))
		switch {
		case text == "":
		case base(name) == "resume":
			if _, value, _ := strings.Cut(text, "RESUME="); value != "none" && value != "" {
				t.found("resume", name, text)
			}
		case strings.Contains(text, "resume="):
			t.found("resume", name, text)
		default:
			t.found("unused-cmdline", name, strings.ReplaceAll(text, "\n", " "))
		}
	}
	for line := range strings.Lines(t.text("etc/selinux/config")) {
		if strings.TrimSpace(line) == "SELINUX=enforcing" && !p.labelled {
			t.found("selinux-unlabelled", "etc/selinux/config", "")
		}
	}
}

// checkFstab reads fstab(5).
func checkFstab(t *tree) {
	for line := range strings.Lines(t.text("etc/fstab")) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		what, where, options := fields[0], fields[1], ""
		if len(fields) > 3 {
			options = "," + fields[3] + ","
		}
		short := strings.Join(fields[:3], " ")
		switch {
		case where == "/" || where == "/usr":
			t.found("fstab-root", "etc/fstab", short)
		case where == "/var" && (what == "PARTLABEL=var" || what == "LABEL=var"):
			// As abupdate names it: systemd finds it mounted.
		case where == "/var":
			t.found("fstab-var", "etc/fstab", short)
		case strings.Contains(options, ",nofail,") || strings.Contains(options, ",noauto,"):
		case oneMachines(what):
			t.found("fstab-device", "etc/fstab", short)
		}
	}
}

// oneMachines says whether fstab names a device that only one machine has.
// Labels of partitions are what abupdate's layouts give.
func oneMachines(what string) bool {
	for _, prefix := range []string{"UUID=", "PARTUUID=", "ID=", "/dev/disk/by-uuid/", "/dev/disk/by-partuuid/", "/dev/disk/by-id/",
		"/dev/disk/by-path/", "/dev/mapper/", "/dev/sd", "/dev/vd", "/dev/nvme", "/dev/mmcblk", "/dev/hd", "/dev/xvd"} {
		if strings.HasPrefix(what, prefix) {
			return true
		}
	}
	return false
}

// checkHomes finds people whose files would be forgotten at reboot.
func checkHomes(t *tree) {
	for line := range strings.Lines(t.text("etc/passwd")) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 7 {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil || uid < 1000 || uid >= 60000 { // login.defs(5)
			continue
		}
		if home := strings.Trim(fields[5], "/"); home != "" && home != "nonexistent" && !below(t.place(home), "var") && !mounted(t, home) {
			t.found("home-not-kept", home, fields[0])
		}
	}
}

// mounted says whether fstab mounts something where a path leads.
func mounted(t *tree, name string) bool {
	for line := range strings.Lines(t.text("etc/fstab")) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0][0] != '#' && strings.Trim(fields[1], "/") != "" && below(name, strings.Trim(fields[1], "/")) {
			return true
		}
	}
	return false
}

// A versionProbe sees what an update would be called.
type versionProbe struct{}

var osReleasePaths = []string{"etc/os-release", "usr/lib/os-release"}

func (versionProbe) entry(*tree, fstree.Entry) {}
func (versionProbe) want(t *tree) {
	for _, name := range osReleasePaths {
		t.ask(name, textLimit)
	}
}

func (versionProbe) check(t *tree) {
	text := t.text(osReleasePaths[0])
	if text == "" {
		text = t.text(osReleasePaths[1])
	}
	if text == "" {
		t.found("no-os-release", osReleasePaths[1], "")
	}
	vars := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			vars[key] = strings.Trim(value, `"'`)
		}
	}
	switch {
	case t.opt.Version != "" || strings.TrimSpace(t.opt.Labels["org.opencontainers.image.version"]) != "" || vars["IMAGE_VERSION"] != "":
	case vars["VERSION_ID"] != "":
		t.found("version-of-distribution", "", "VERSION_ID="+vars["VERSION_ID"])
	default:
		t.found("no-version", "", "")
	}
}
