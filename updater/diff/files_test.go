package diff_test

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/updater/diff"
)

// files makes a list out of entries, with the sums of the contents given for
// regular files.
func files(entries ...diff.File) []diff.File {
	slices.SortFunc(entries, func(a, b diff.File) int { return strings.Compare(a.Path, b.Path) })
	return entries
}

func file(path, content string, change ...func(*diff.File)) diff.File {
	f := diff.File{Entry: fstree.Entry{Path: path, Type: fstree.Regular, Mode: 0o644, Size: int64(len(content))}, Sum: sha256.Sum256([]byte(content))}
	for _, c := range change {
		c(&f)
	}
	return f
}

func entry(e fstree.Entry) diff.File { return diff.File{Entry: e} }

func hard(path, to string) diff.File {
	return entry(fstree.Entry{Path: path, Type: fstree.Hardlink, Linkname: to})
}

func TestFiles(t *testing.T) {
	mode := func(m uint16) func(*diff.File) { return func(f *diff.File) { f.Mode = m } }
	at := func(sec int64) func(*diff.File) { return func(f *diff.File) { f.ModTime = sec } }
	with := func(x ...fstree.Xattr) func(*diff.File) { return func(f *diff.File) { f.Xattrs = x } }
	link := func(target string) diff.File {
		return entry(fstree.Entry{Path: "x", Type: fstree.Symlink, Mode: 0o777, Linkname: target})
	}
	for _, tt := range []struct {
		name     string
		old, new []diff.File
		want     []diff.FileChange
		same     int
	}{
		{"equal", files(file("x", "a")), files(file("x", "a")), nil, 1},
		{"added", nil, files(file("x", "abc")), []diff.FileChange{{Path: "/x", Kind: diff.Added, NewBytes: 3}}, 0},
		{"removed", files(file("x", "abc")), nil, []diff.FileChange{{Path: "/x", Kind: diff.Removed, OldBytes: 3}}, 0},
		{"another length", files(file("x", "abc")), files(file("x", "ab")), []diff.FileChange{{Path: "/x", Kind: diff.Content, OldBytes: 3, NewBytes: 2}}, 0},
		{"another content of that length", files(file("x", "abc")), files(file("x", "abd")),
			[]diff.FileChange{{Path: "/x", Kind: diff.Content, OldBytes: 3, NewBytes: 3}}, 0},
		{"mode", files(file("x", "a")), files(file("x", "a", mode(0o4755))),
			[]diff.FileChange{{Path: "/x", Kind: diff.Metadata, OldBytes: 1, NewBytes: 1, Details: []diff.Detail{{Name: "mode", Old: "0644", New: "4755"}}}}, 0},
		{"time", files(file("x", "a")), files(file("x", "a", at(60))),
			[]diff.FileChange{{Path: "/x", Kind: diff.Metadata, OldBytes: 1, NewBytes: 1,
				Details: []diff.Detail{{Name: "time", Old: "1970-01-01T00:00:00Z", New: "1970-01-01T00:01:00Z"}}}}, 0},
		{"owner", files(file("x", "a")), files(file("x", "a", func(f *diff.File) { f.UID, f.GID = 1, 2 })),
			[]diff.FileChange{{Path: "/x", Kind: diff.Metadata, OldBytes: 1, NewBytes: 1, Details: []diff.Detail{{Name: "owner", Old: "0:0", New: "1:2"}}}}, 0},
		{"attributes", files(file("x", "a", with(fstree.Xattr{Name: "user.a", Value: []byte("1")}, fstree.Xattr{Name: "user.b", Value: []byte("2")}))),
			files(file("x", "a", with(fstree.Xattr{Name: "user.b", Value: []byte("\x03")}, fstree.Xattr{Name: "user.c", Value: make([]byte, 65)}))),
			[]diff.FileChange{{Path: "/x", Kind: diff.Metadata, OldBytes: 1, NewBytes: 1, Details: []diff.Detail{
				{Name: "user.a", Old: `"1"`}, {Name: "user.b", Old: `"2"`, New: `"\x03"`},
				{Name: "user.c", New: "65 bytes, sha256 98ce42deef51d40269d542f5314bef2c7468d401ad5d85168bfab4c0108f75f7"},
			}}}, 0},
		{"symlink elsewhere", files(link("a")), files(link("b")),
			[]diff.FileChange{{Path: "/x", Kind: diff.Metadata, Details: []diff.Detail{{Name: "target", Old: "a", New: "b"}}}}, 0},
		{"another device", files(entry(fstree.Entry{Path: "x", Type: fstree.CharDevice, Major: 1, Minor: 3})),
			files(entry(fstree.Entry{Path: "x", Type: fstree.CharDevice, Major: 1, Minor: 5})),
			[]diff.FileChange{{Path: "/x", Kind: diff.Metadata, Details: []diff.Detail{{Name: "target", Old: "1:3", New: "1:5"}}}}, 0},
		{"a file in the place of a symlink", files(link("a")), files(file("x", "abc", mode(0o777))),
			[]diff.FileChange{{Path: "/x", Kind: diff.Metadata, NewBytes: 3, Details: []diff.Detail{{Name: "type", Old: "symlink", New: "regular file"}}}}, 0},
		{"content and mode", files(file("x", "a")), files(file("x", "bc", mode(0o600))),
			[]diff.FileChange{{Path: "/x", Kind: diff.Content, OldBytes: 1, NewBytes: 2, Details: []diff.Detail{{Name: "mode", Old: "0644", New: "0600"}}}}, 0},
		{"content under two names", files(file("a", "1"), hard("b", "a")), files(file("a", "2"), hard("b", "a")),
			[]diff.FileChange{{Path: "/a", Kind: diff.Content, OldBytes: 1, NewBytes: 1}, {Path: "/b", Kind: diff.Content}}, 0},
		{"a hardlink that became a file of its own", files(file("a", "1"), hard("b", "a")), files(file("a", "1"), file("b", "1")),
			[]diff.FileChange{{Path: "/b", Kind: diff.Metadata, NewBytes: 1, Details: []diff.Detail{{Name: "hardlink to", Old: "/a"}}}}, 1},
		{"a hardlink's first name went", files(file("a", "1"), hard("b", "a")), files(file("b", "1")),
			[]diff.FileChange{{Path: "/a", Kind: diff.Removed, OldBytes: 1},
				{Path: "/b", Kind: diff.Metadata, NewBytes: 1, Details: []diff.Detail{{Name: "hardlink to", Old: "/a"}}}}, 0},
		{"the largest first, then by path, times last", files(file("b", "12"), file("o", "large"), file("z", "x")),
			files(file("a", "1"), file("c", "1234"), file("o", "large", at(1)), file("z", "y")),
			[]diff.FileChange{{Path: "/c", Kind: diff.Added, NewBytes: 4}, {Path: "/b", Kind: diff.Removed, OldBytes: 2},
				{Path: "/a", Kind: diff.Added, NewBytes: 1}, {Path: "/z", Kind: diff.Content, OldBytes: 1, NewBytes: 1},
				{Path: "/o", Kind: diff.Metadata, OldBytes: 5, NewBytes: 5,
					Details: []diff.Detail{{Name: "time", Old: "1970-01-01T00:00:00Z", New: "1970-01-01T00:00:01Z"}}}}, 0},
	} {
		got := diff.Files(tt.old, tt.new)
		if d := cmp.Diff(tt.want, got.Changes); d != "" {
			t.Errorf("%s: changes (-want +got):\n%s", tt.name, d)
		}
		if got.Same.Files != tt.same {
			t.Errorf("%s: %d files are the same; want %d", tt.name, got.Same.Files, tt.same)
		}
	}
}

func TestCounts(t *testing.T) {
	old := files(file("a", "1"), file("b", "22"), file("c", "333"), file("d", "4444"), file("e", "55555"))
	touched := file("d", "4444", func(f *diff.File) { f.ModTime = 1 })
	opened := file("e", "55555", func(f *diff.File) { f.ModTime, f.Mode = 1, 0o666 })
	got := diff.Files(old, files(file("a", "1"), file("c", "33"), touched, opened, file("f", "666666")))
	got.Changes = nil
	want := diff.FileChanges{
		Added:    diff.FileCount{Files: 1, NewBytes: 6},
		Removed:  diff.FileCount{Files: 1, OldBytes: 2},
		Content:  diff.FileCount{Files: 1, OldBytes: 3, NewBytes: 2},
		Metadata: diff.FileCount{Files: 2, OldBytes: 9, NewBytes: 9},
		Same:     diff.FileCount{Files: 1, OldBytes: 1, NewBytes: 1},
		TimeOnly: 1,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("counts (-want +got):\n%s", d)
	}
}

// Contents are only compared where nothing else tells files apart.
func TestPairs(t *testing.T) {
	old := files(file("dir/gone", "1"), file("empty", ""), file("equal", "ab"), file("first", "abc"), hard("further", "first"), file("longer", "a"))
	after := files(file("empty", ""), file("equal", "cd"), file("further", "xyz"), file("longer", "ab"), file("new", "1"),
		entry(fstree.Entry{Path: "first", Type: fstree.Symlink, Linkname: "abc"}))
	var got []string
	for i, j := range diff.Pairs(old, after) {
		got = append(got, old[i].Path+"="+after[j].Path)
	}
	if d := cmp.Diff([]string{"equal=equal", "first=further"}, got); d != "" {
		t.Errorf("Pairs() (-want +got):\n%s", d)
	}
}

// Whatever is compared: the counts add up, the way back is the mirror image,
// and nothing differs from itself.
func FuzzFiles(f *testing.F) {
	f.Add("a1b2c3", "a1b3d4")
	f.Add("aLbLc1", "c1")
	f.Fuzz(func(t *testing.T, old, after string) {
		a, b := parse(old), parse(after)
		there, back := diff.Files(a, b), diff.Files(b, a)
		names := there.Removed.Files + there.Content.Files + there.Metadata.Files + there.Same.Files
		if names != len(a) || names-there.Removed.Files+there.Added.Files != len(b) {
			t.Errorf("%+v: do not add up to %d and %d names", there, len(a), len(b))
		}
		if there.Added.Files != back.Removed.Files || there.Content.Files != back.Content.Files ||
			there.Metadata.Files != back.Metadata.Files || there.Added.NewBytes != back.Removed.OldBytes || len(there.Changes) != len(back.Changes) {
			t.Errorf("there %+v\nback %+v: not mirror images", there, back)
		}
		if same := diff.Files(a, a); len(same.Changes) > 0 {
			t.Errorf("%v differs from itself: %+v", a, same.Changes)
		}
	})
}

// parse makes files out of pairs of characters: a name, and what is there.
func parse(prog string) []diff.File {
	byName := map[string]diff.File{}
	for len(prog) >= 2 {
		name, what := prog[:1], prog[1]
		prog = prog[2:]
		switch {
		case what == 'L' && len(byName) > 0 && byName["a"].Type == fstree.Regular && name != "a":
			byName[name] = hard(name, "a")
		case what == 'S':
			byName[name] = entry(fstree.Entry{Path: name, Type: fstree.Symlink, Linkname: name})
		case name == "a" && byName["a"].Type != 0: // it may have further names
		default:
			byName[name] = file(name, strings.Repeat(string(what), int(what%5)))
		}
	}
	var list []diff.File
	for _, f := range byName {
		list = append(list, f)
	}
	return files(list...)
}
