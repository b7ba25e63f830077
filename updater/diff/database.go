package diff

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Where package managers keep what they installed, paths from the root. Images
// without a dpkg that runs have a file for each package in DpkgDir.
const (
	DpkgStatus = "var/lib/dpkg/status"
	DpkgDir    = "var/lib/dpkg/status.d"
	ApkOld     = "lib/apk/db/installed"
	ApkNew     = "usr/lib/apk/db/installed"
)

// ParseDpkg reads dpkg's status file, or one of DpkgDir: those packages that
// are installed.
func ParseDpkg(text string) []Package {
	var list []Package
	for paragraph := range paragraphs(text) {
		var p Package
		installed := true
		for line := range strings.Lines(paragraph) {
			key, value, _ := strings.Cut(line, ":") // a continuation begins with a space
			switch value = strings.TrimSpace(value); key {
			case "Package":
				p.Name = value
			case "Version":
				p.Version = value
			case "Architecture":
				p.Architecture = value
			case "Installed-Size":
				p.Bytes = kib(value)
			case "Status":
				installed = strings.HasSuffix(value, " installed")
			}
		}
		if installed && p.Name != "" {
			list = append(list, p)
		}
	}
	return sorted(list)
}

// kib is a number of KiB in bytes, 0 for what is no number.
func kib(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 48)
	if err != nil || n < 0 {
		return 0
	}
	return n << 10
}

// ParseApk reads apk's database of installed packages.
func ParseApk(text string) []Package {
	var list []Package
	for paragraph := range paragraphs(text) {
		var p Package
		for line := range strings.Lines(paragraph) {
			key, value, _ := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
			switch key {
			case "P":
				p.Name = value
			case "V":
				p.Version = value
			case "A":
				p.Architecture = value
			case "I":
				if n, err := strconv.ParseInt(value, 10, 64); err == nil && n >= 0 {
					p.Bytes = n
				}
			}
		}
		if p.Name != "" {
			list = append(list, p)
		}
	}
	return sorted(list)
}

// paragraphs splits at empty lines.
func paragraphs(text string) func(yield func(string) bool) {
	return strings.SplitSeq(text, "\n\n")
}

func sorted(list []Package) []Package {
	slices.SortFunc(list, func(a, b Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Architecture, b.Architecture))
	})
	return list
}
