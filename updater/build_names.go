package updater

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
)

// Fields are what BuildOptions.Tag and Push may hold to tell updates apart:
// version and architecture of the system, and tag and last part of the name of
// the image that it is built from.
const Fields = "{version}, {arch}, {tag}, {name}"

var fields = strings.Split(Fields, ", ")

func hasField(s string) bool {
	for _, f := range fields {
		if strings.Contains(s, f) {
			return true
		}
	}
	return false
}

// field is what stands in a pattern for something else.
var field = regexp.MustCompile(`\{[^{}]*\}?|\}`)

// checkFields refuses a pattern with what looks like a field and is none: a tag
// cannot hold braces.
func checkFields(flag, pattern string) error {
	for _, f := range field.FindAllString(pattern, -1) {
		if !slices.Contains(fields, f) {
			return fault.Errorf(fault.Usage, "%s %s: %s is none of %s", flag, pattern, f, Fields)
		}
	}
	return nil
}

// fill puts values in the place of fields. They become what a tag may hold.
func fill(pattern string, m *manifest.Manifest, ref oci.Reference) string {
	values := []string{m.Version, m.Architecture, ref.Tag, baseName(ref)}
	var pairs []string
	for i, f := range fields {
		pairs = append(pairs, f, word(values[i]))
	}
	return strings.NewReplacer(pairs...).Replace(pattern)
}

// baseName is the last part of an image's name: of the repository, the folder
// or the archive without its suffix.
func baseName(ref oci.Reference) string {
	if ref.Local() {
		return strings.TrimSuffix(path.Base(ref.Path), ".tar")
	}
	name := strings.TrimPrefix(ref.String(), "docker://")
	name, _, _ = strings.Cut(name, "@")
	name = path.Base(name)
	name, _, _ = strings.Cut(name, ":")
	return name
}

// word replaces what a tag cannot hold.
func word(s string) string {
	b := []byte(s)
	for i, c := range b {
		if ok := isWord(c) || i > 0 && (c == '.' || c == '-'); !ok {
			b[i] = '_'
		}
	}
	return string(b)
}

// tagOf returns the update's tag in a layout: pattern with its fields filled,
// else the version.
func tagOf(pattern string, m *manifest.Manifest, ref oci.Reference) string {
	if pattern == "" {
		pattern = "{version}"
	}
	tag := fill(pattern, m, ref)
	return tag[:min(len(tag), 128)]
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
