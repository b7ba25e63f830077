package lint

import (
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// tmpfilesDirs hold lists of files to create; of two files with one name, that
// of the earlier folder counts (tmpfiles.d(5)). /run's is hidden on a device.
var tmpfilesDirs = []string{"etc/tmpfiles.d/", "usr/local/lib/tmpfiles.d/", "usr/lib/tmpfiles.d/"}

// tmpfiles is what systemd-tmpfiles creates at boot.
type tmpfiles struct {
	lists map[string]string // name of the list to its path
	// made are paths that get created; trees those that come with all that is
	// below them. globs are made paths with something that only a device knows.
	made, trees map[string]bool
	globs       []string
}

func (f *tmpfiles) entry(e fstree.Entry) {
	for i, dir := range tmpfilesDirs {
		name, ok := strings.CutPrefix(e.Path, dir)
		if !ok || strings.Contains(name, "/") || !strings.HasSuffix(name, ".conf") {
			continue
		}
		if f.lists == nil {
			f.lists = map[string]string{}
		}
		old := slices.IndexFunc(tmpfilesDirs, func(d string) bool { return strings.HasPrefix(f.lists[name], d) })
		if old < 0 || i < old {
			f.lists[name] = e.Path
		}
	}
}

func (f *tmpfiles) want(t *tree) {
	for _, name := range slices.Sorted(maps.Keys(f.lists)) {
		t.ask(f.lists[name], textLimit) // one that links to /dev/null has nothing to read
	}
}

func (f *tmpfiles) parse(t *tree) {
	f.made, f.trees = map[string]bool{}, map[string]bool{}
	for _, list := range f.lists {
		f.parseText(t, t.text(list))
	}
}

func (f *tmpfiles) parseText(t *tree, text string) {
	for line := range strings.Lines(text) {
		f.line(t, line)
	}
}

// line adds one line of a list.
func (f *tmpfiles) line(t *tree, line string) {
	fields := splitFields(strings.TrimRight(line, "\r\n"), 2)
	if len(fields) < 2 || fields[0] == "" || fields[0][0] == '#' {
		return
	}
	kind := fields[0][0]
	if !strings.ContainsRune("fFdDvqQpLcbC", rune(kind)) {
		return
	}
	name, ok := expand(fields[1])
	if !ok || !strings.HasPrefix(name, "/") {
		return
	}
	name = strings.TrimPrefix(path.Clean(name), "/")
	if strings.ContainsRune(name, '*') {
		f.globs = append(f.globs, name)
		return
	}
	// Only the folders on the way are followed: the last name is made itself.
	name = join(t.place(parent(name)), base(name))
	f.made[name] = true
	if kind == 'C' || kind == 'L' {
		f.trees[name] = true
	}
}

// specifiers that are the same on every device.
var specifiers = map[byte]string{
	'%': "%", 'S': "/var/lib", 'C': "/var/cache", 'L': "/var/log", 't': "/run", 'T': "/tmp", 'V': "/var/tmp",
	'h': "/root", 'u': "root", 'U': "0", 'g': "root", 'G': "0",
}

// expand replaces specifiers; one that only a device knows becomes "*".
func expand(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", false
		}
		if text, ok := specifiers[s[i]]; ok {
			b.WriteString(text)
		} else {
			b.WriteByte('*')
		}
	}
	return b.String(), true
}

// splitFields returns the first n fields of a line, quotes and escapes of C
// taken off.
func splitFields(line string, n int) []string {
	var fields []string
	for len(fields) < n {
		line = strings.TrimLeft(line, " \t")
		if line == "" {
			break
		}
		var field string
		field, line = nextField(line)
		fields = append(fields, field)
	}
	return fields
}

func nextField(line string) (field, rest string) {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '\\' && i+1 < len(line):
			r, _, tail, err := strconv.UnquoteChar(line[i:], 0)
			if err != nil {
				b.WriteByte(line[i+1])
				i++
				continue
			}
			if r < 0x100 && line[i+1] != 'u' && line[i+1] != 'U' {
				b.WriteByte(byte(r))
			} else {
				b.WriteRune(r)
			}
			i = len(line) - len(tail) - 1
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), line[i:]
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), ""
}

// creates says whether a path comes to be without the image's own.
func (f *tmpfiles) creates(name string) bool {
	if f.made[name] || slices.ContainsFunc(f.globs, func(g string) bool { ok, err := path.Match(g, name); return ok && err == nil }) {
		return true
	}
	for dir := name; dir != ""; dir = parent(dir) {
		if f.trees[dir] {
			return true
		}
	}
	return false
}
