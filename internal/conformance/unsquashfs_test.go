package conformance_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A row is what "unsquashfs -lln" tells of an object.
type row struct {
	Type     string
	Mode     uint32
	UID, GID uint32
	Size     int64 // of regular files and symlinks
	Rdev     string
	Minute   string // of the modification, in UTC
	Target   string
}

// rowOf is the row that an object should have.
func rowOf(o object) row {
	r := row{Type: o.Type, Mode: o.Mode, UID: o.UID, GID: o.GID, Size: o.Size, Target: o.Target, Rdev: halves(o.Rdev)}
	if o.Type == "l" {
		r.Size = int64(len(o.Target))
	}
	r.Minute = time.Unix(o.ModTime, 0).UTC().Format("2006-01-02 15:04")
	return r
}

// halves are the two halves of a device number as the tool sees them: the
// kernel's encoding, cut into 24 bits and 8.
func halves(rdev string) string {
	var major, minor uint32
	if _, err := fmt.Sscanf(rdev, "%d:%d", &major, &minor); err != nil {
		return ""
	}
	encoded := int32(minor&0xff | major<<8 | minor>>8<<20)
	return fmt.Sprintf("%d:%d", encoded>>8, encoded&0xff)
}

var rowPattern = regexp.MustCompile(`^(.)(.{9}) (\d+)/(\d+) +(?:(-?\d+), *(\d+)|(\d+)) (\d{4}-\d\d-\d\d \d\d:\d\d) squashfs-root(?:/(.*))?$`)

// rows lists a slot image.
func rows(t *testing.T, raw string) map[string]row {
	t.Helper()
	all := map[string]row{}
	for line := range strings.Lines(must(t, "unsquashfs", "-lln", "-UTC", raw)) {
		m := rowPattern.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("unsquashfs -lln printed %q", line)
		}
		r := row{Type: m[1], Mode: modeOf(m[2]), UID: number(m[3]), GID: number(m[4]), Minute: m[8]}
		name := m[9]
		if name == "" {
			name = "."
		}
		switch r.Type {
		case "l":
			name, r.Target, _ = strings.Cut(name, " -> ")
			r.Size, _ = strconv.ParseInt(m[7], 10, 64)
		case "-":
			r.Size, _ = strconv.ParseInt(m[7], 10, 64)
		case "c", "b":
			r.Rdev = m[5] + ":" + m[6]
		}
		all[name] = r
	}
	return all
}

func number(s string) uint32 {
	n, _ := strconv.ParseUint(s, 10, 32)
	return uint32(n)
}

// modeOf reads "rwsr-x--T".
func modeOf(s string) uint32 {
	var mode uint32
	for i, c := range []byte(s) {
		bit := uint32(0o400) >> i
		special := uint32(0o4000) >> (i / 3)
		switch {
		case c == 's' || c == 't':
			mode |= bit | special
		case c == 'S' || c == 'T':
			mode |= special
		case c != '-':
			mode |= bit
		}
	}
	return mode
}

// unsquash lists what unsquashfs extracts. Where nobody may make owners and
// devices, these come from its rows.
func unsquash(t *testing.T, raw string, listed map[string]row) listing {
	t.Helper()
	root := filepath.Join(scratch(t), "root")
	args := []string{"-quiet", "-no-progress", "-data-queue", "8", "-frag-queue", "8", "-dest", root, raw}
	if !privileged() {
		args = append([]string{"-user-xattrs", "-excludes"}, args...)
		for name, r := range listed {
			if r.Rdev != "" {
				args = append(args, name)
			}
		}
	}
	must(t, "unsquashfs", args...)
	l, err := list(root)
	if err != nil {
		t.Fatal(err)
	}
	if !privileged() {
		for name, r := range listed {
			o, ok := l[name]
			if !ok && r.Rdev != "" {
				minute, err := time.Parse("2006-01-02 15:04", r.Minute)
				if err != nil {
					t.Fatal(err)
				}
				o = object{ModTime: minute.Unix(), Rdev: r.Rdev, Links: 1}
			} else if !ok {
				continue // the comparison will tell
			}
			o.Type, o.Mode, o.UID, o.GID = r.Type, r.Mode, r.UID, r.GID
			l[name] = o
		}
	}
	l.countDirs()
	return l
}

// stat returns the fields of "unsquashfs -stat".
func stat(t *testing.T, raw string) map[string]string {
	t.Helper()
	fields := map[string]string{}
	for line := range strings.Lines(must(t, "unsquashfs", "-stat", raw)) {
		line = strings.TrimSpace(line)
		for _, name := range []string{"Creation or last append time", "Filesystem size", "Compression", "Block size",
			"Number of inodes", "Number of ids", "Number of xattr ids"} {
			if value, ok := strings.CutPrefix(line, name+" "); ok {
				fields[name] = value
			}
		}
		if strings.Contains(line, "are ") || strings.Contains(line, "is ") || strings.HasPrefix(line, "Found") {
			fields[line] = "yes"
		}
	}
	return fields
}

// mounted lists what the kernel shows of a slot image.
func mounted(t *testing.T, raw string) (l listing, err error) {
	t.Helper()
	dir := scratch(t)
	must(t, "mount", "-t", "squashfs", "-o", "loop,ro", raw, dir)
	defer func() {
		_, umount := run(t.Context(), "umount", dir)
		err = errors.Join(err, umount)
	}()
	return list(dir)
}

// sizeOf is the length of a file.
func sizeOf(t *testing.T, file string) int64 {
	t.Helper()
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return st.Size()
}
