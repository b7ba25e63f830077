package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
)

// KargsDir holds what an image adds to the kernel's command line: *.toml files
// as bootc has them, read in the order of their names.
const KargsDir = "usr/lib/abupdate/kargs.d"

// kargsFile is one of them.
type kargsFile struct {
	Kargs []string `toml:"kargs"`
	// MatchArchitectures are those that it is for, as uname -m names them, or
	// as images do; none is all.
	MatchArchitectures []string `toml:"match-architectures"`
}

// machines are the names of architectures in kargs.d by those of images.
var machines = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64"}

func (f kargsFile) isFor(arch string) bool {
	return len(f.MatchArchitectures) == 0 || slices.Contains(f.MatchArchitectures, arch) ||
		slices.Contains(f.MatchArchitectures, machines[arch])
}

// dropins returns the *.toml files in a folder by the path of their content, in
// the order in which they count.
func dropins(plan *oci.Plan, folder string) []string {
	dir, ok := plan.Lookup(folder)
	if !ok || dir.Type != fstree.Directory {
		return nil
	}
	var names []string
	for n := range in(plan.Tree, dir.Path) {
		if name := plan.Tree.Name(n); strings.HasSuffix(name, ".toml") && name[0] != '.' {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var paths []string
	for _, name := range names {
		if e, ok := plan.Lookup(folder + "/" + name); ok && (e.Type == fstree.Regular || e.Type == fstree.Hardlink) {
			paths = append(paths, e.Path)
		}
	}
	return paths
}

// joinKargs makes one text of the files' words for an architecture.
func joinKargs(paths []string, files map[string][]byte, arch string) (string, error) {
	var words []string
	for _, path := range paths {
		var f kargsFile
		meta, err := toml.Decode(string(files[path]), &f)
		if err == nil && len(meta.Undecoded()) > 0 {
			err = fmt.Errorf("unknown key %v", meta.Undecoded()[0])
		}
		if err != nil {
			return "", fault.Errorf(fault.Usage, "reading /%s of the image: %w", path, err)
		}
		if !f.isFor(arch) {
			continue
		}
		for _, karg := range f.Kargs {
			word, err := kargWord(karg)
			if err != nil {
				return "", fault.Errorf(fault.Usage, "reading /%s of the image: kernel argument %q: %w", path, karg, err)
			}
			words = append(words, word)
		}
	}
	text := strings.Join(words, " ")
	if len(text) > manifest.MaxKargs {
		return "", fault.Errorf(fault.Usage, "the image's kernel arguments in /%s have %d bytes, more than %d", KargsDir, len(text), manifest.MaxKargs)
	}
	return text, nil
}

// kargWord returns an argument as it stands on the command line: with its
// value in quotes where that has blanks.
func kargWord(karg string) (string, error) {
	key, value, hasValue := strings.Cut(strings.TrimSpace(karg), "=")
	switch {
	case key == "" || strings.ContainsAny(key, " \t\"") || key == "--":
		return "", fmt.Errorf("not of the form KEY or KEY=VALUE")
	case key == "abupdate.slot" || key == "abupdate.disk":
		return "", fmt.Errorf("an image cannot choose what boots")
	case strings.ContainsFunc(karg, func(r rune) bool { return r < ' ' || r >= 0x7f }):
		return "", fmt.Errorf("it has control characters or is not ASCII")
	case !hasValue:
		return key, nil
	}
	if n := len(value); n > 1 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
	}
	if strings.Contains(value, `"`) {
		return "", fmt.Errorf("a quote inside the value")
	}
	if strings.Contains(value, " ") {
		value = `"` + value + `"`
	}
	return key + "=" + value, nil
}
