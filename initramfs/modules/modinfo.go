package modules

import (
	"bytes"
	"slices"
	"strings"
)

// A modinfo holds what a module says it needs, in canonical names.
type modinfo struct {
	depends   []string
	pre, post []string // soft dependencies
}

func (m modinfo) all() []string { return slices.Concat(m.pre, m.depends, m.post) }

// readModinfo parses the module's .modinfo section: NUL-terminated key=value
// strings.
func readModinfo(ko []byte) (modinfo, error) {
	raw, err := section(ko, ".modinfo")
	if err != nil {
		return modinfo{}, err
	}
	var m modinfo
	for s := range bytes.SplitSeq(raw, []byte{0}) {
		key, value, _ := strings.Cut(string(s), "=")
		switch key {
		case "depends":
			for d := range strings.SplitSeq(value, ",") {
				if d != "" {
					m.depends = append(m.depends, canonical(d))
				}
			}
		case "softdep":
			m.addSoft(value)
		}
	}
	return m, nil
}

// addSoft parses "pre: a b post: c".
func (m *modinfo) addSoft(value string) {
	var to *[]string
	for word := range strings.FieldsSeq(value) {
		switch {
		case word == "pre:":
			to = &m.pre
		case word == "post:":
			to = &m.post
		case to != nil:
			*to = append(*to, canonical(word))
		}
	}
}
