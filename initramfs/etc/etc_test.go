package etc_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/initramfs/etc"
)

// files are what a folder holds: "-> x" is a symlink, "gone" in an upper
// directory a removed file, and a path that ends in a slash a directory.
type files map[string]string

func put(t testing.TB, dir string, fs files) string {
	t.Helper()
	for name, text := range fs {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(path)
		var err error
		target, link := strings.CutPrefix(text, "-> ")
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		case link:
			err = os.Symlink(target, path)
		case text == "gone":
			err = unix.Mknod(path, unix.S_IFCHR, 0)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func get(t testing.TB, dir string) files {
	t.Helper()
	got := files{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch d.Type() {
		case fs.ModeDir:
			got[name+"/"] = ""
		case fs.ModeSymlink:
			target, _ := os.Readlink(path)
			got[name] = "-> " + target
		case 0:
			text, _ := os.ReadFile(path)
			got[name] = string(text)
		default:
			got[name] = "gone"
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// newStore is a store that counts its syncs.
func newStore(t testing.TB) (etc.Store, *int) {
	syncs := new(int)
	return etc.Store{Path: t.TempDir(), Sync: func() error { *syncs++; return nil }}, syncs
}

func reconcile(t testing.TB, s etc.Store, lower, image string) map[string]bool {
	t.Helper()
	changes, err := s.Reconcile(lower, image)
	if err != nil {
		t.Fatal(err)
	}
	conflicts := map[string]bool{}
	for path, c := range changes {
		conflicts[path] = c.Conflict()
	}
	return conflicts
}

// One change, two images: what stays, and what is a conflict.
func TestReconcile(t *testing.T) {
	for _, tt := range []struct {
		name             string
		first, upper     files
		second, want     files // want is the upper directory with the second image
		changes          map[string]bool
		changesWithFirst map[string]bool
	}{
		{"nothing changed", files{"a": "1"}, nil, files{"a": "2"}, files{}, map[string]bool{}, map[string]bool{}},
		{"a change that the image knows nothing of", files{"a": "1"}, files{"a": "mine"}, files{"a": "1"}, files{"a": "mine"},
			map[string]bool{"a": false}, map[string]bool{"a": false}},
		{"both changed it", files{"a": "1"}, files{"a": "mine"}, files{"a": "2"}, files{"a": "mine"},
			map[string]bool{"a": true}, map[string]bool{"a": false}},
		{"both changed it in the same way", files{"a": "1"}, files{"a": "2"}, files{"a": "2"}, files{}, map[string]bool{}, map[string]bool{"a": false}},
		{"opened for writing, never written", files{"a": "1"}, files{"a": "1"}, files{"a": "2"}, files{}, map[string]bool{}, map[string]bool{}},
		{"added", files{}, files{"new": "mine"}, files{}, files{"new": "mine"}, map[string]bool{"new": false}, map[string]bool{"new": false}},
		{"added by both", files{}, files{"new": "mine"}, files{"new": "2"}, files{"new": "mine"}, map[string]bool{"new": true}, map[string]bool{"new": false}},
		{"removed", files{"a": "1"}, files{"a": "gone"}, files{"a": "1"}, files{"a": "gone"}, map[string]bool{"a": false}, map[string]bool{"a": false}},
		{"removed, and changed by the image", files{"a": "1"}, files{"a": "gone"}, files{"a": "2"}, files{"a": "gone"}, map[string]bool{"a": true}, map[string]bool{"a": false}},
		{"removed by both", files{"a": "1"}, files{"a": "gone"}, files{}, files{}, map[string]bool{}, map[string]bool{"a": false}},
		{"changed, and removed by the image", files{"a": "1"}, files{"a": "mine"}, files{}, files{"a": "mine"}, map[string]bool{"a": true}, map[string]bool{"a": false}},
		{"a symlink", files{"a": "-> x"}, files{"a": "-> y"}, files{"a": "-> x"}, files{"a": "-> y"}, map[string]bool{"a": false}, map[string]bool{"a": false}},
		{"folders go with what is in them", files{"d/a": "1", "d/b": "1"}, files{"d/a": "1"}, files{"d/a": "2"}, files{}, map[string]bool{}, map[string]bool{}},
		{"and stay with it", files{"d/e/a": "1", "d/b": "1"}, files{"d/e/a": "mine", "d/b": "1"}, files{"d/e/a": "1"}, files{"d/": "", "d/e/": "", "d/e/a": "mine"},
			map[string]bool{"d/e/a": false}, map[string]bool{"d/e/a": false}},
		{"an empty folder of one's own", files{}, files{"d/": ""}, files{}, files{"d/": ""}, map[string]bool{"d": false}, map[string]bool{"d": false}},
		{"the machine's ID is no change", files{"machine-id": ""}, files{"machine-id": "abc"}, files{}, files{"machine-id": "abc"}, map[string]bool{}, map[string]bool{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newStore(t)
			first, second := put(t, t.TempDir(), tt.first), put(t, t.TempDir(), tt.second)
			if got := reconcile(t, s, first, "one"); len(got) != 0 {
				t.Errorf("changes at the first boot: %v", got)
			}
			put(t, s.Upper(), tt.upper)
			if diff := cmp.Diff(tt.changesWithFirst, reconcile(t, s, first, "one")); diff != "" {
				t.Errorf("changes and conflicts at the next boot (-want +got):\n%s", diff)
			}
			put(t, s.Upper(), tt.upper) // as if this boot had not been
			if diff := cmp.Diff(tt.changes, reconcile(t, s, second, "two")); diff != "" {
				t.Errorf("changes and conflicts with the second image (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, get(t, s.Upper())); diff != "" {
				t.Errorf("upper directory (-want +got):\n%s", diff)
			}
			again := reconcile(t, s, second, "two")
			if diff := cmp.Diff(tt.changes, again); diff != "" {
				t.Errorf("one more boot changes what is listed (-want +got):\n%s", diff)
			}
		})
	}
}

// Permissions of a folder that only holds changes are the image's.
func TestFoldersFollow(t *testing.T) {
	s, syncs := newStore(t)
	one, two := put(t, t.TempDir(), files{"d/a": "1"}), put(t, t.TempDir(), files{"d/a": "1"})
	reconcile(t, s, one, "one")
	put(t, s.Upper(), files{"d/a": "mine"})
	reconcile(t, s, one, "one")
	if *syncs != 0 {
		t.Errorf("%d syncs though nothing was taken away", *syncs)
	}
	if err := os.Chmod(filepath.Join(two, "d"), 0o2750); err != nil {
		t.Fatal(err)
	}
	mode := func() uint32 {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(s.Upper(), "d"), &st); err != nil {
			t.Fatal(err)
		}
		return st.Mode & 0o7777
	}
	_ = unix.Chmod(filepath.Join(two, "d"), 0o2750)
	reconcile(t, s, two, "two")
	if got := mode(); got != 0o2750 || *syncs != 1 {
		t.Errorf("the folder has mode %o after %d syncs; want 2750 as in the image, 1", got, *syncs)
	}
	if err := unix.Chmod(filepath.Join(s.Upper(), "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := reconcile(t, s, one, "three"); !cmp.Equal(got, map[string]bool{"d": true, "d/a": false}) || mode() != 0o700 {
		t.Errorf("after chmod: changes %v, mode %o; want the folder's kept, 700", got, mode())
	}
}

// Going back to an image ends the conflicts that the other one made.
func TestBackAndForth(t *testing.T) {
	s, _ := newStore(t)
	one, two := put(t, t.TempDir(), files{"a": "1"}), put(t, t.TempDir(), files{"a": "2"})
	reconcile(t, s, one, "one")
	put(t, s.Upper(), files{"a": "mine"})
	for _, tt := range []struct {
		lower, image string
		conflict     bool
	}{{two, "two", true}, {one, "one", false}, {two, "two", true}} {
		if got := reconcile(t, s, tt.lower, tt.image); !cmp.Equal(got, map[string]bool{"a": tt.conflict}) {
			t.Errorf("image %s: %v; want conflict %v", tt.image, got, tt.conflict)
		}
	}
	if err := s.Accept("a"); err != nil {
		t.Fatal(err)
	}
	if got := reconcile(t, s, two, "two"); got["a"] {
		t.Error("a conflict that was accepted is still one")
	}
	if err := s.Accept("b"); !errors.Is(err, etc.ErrNoChange) {
		t.Errorf("Accept(b) = %v; want %v", err, etc.ErrNoChange)
	}
	if err := s.Revert("b"); !errors.Is(err, etc.ErrNoChange) {
		t.Errorf("Revert(b) = %v; want %v", err, etc.ErrNoChange)
	}
	if err := s.Revert("a"); err != nil {
		t.Fatal(err)
	}
	var ordered []bool // at each sync
	s.Sync = func() error {
		_, err := os.Lstat(filepath.Join(s.Path, "revert"))
		ordered = append(ordered, err == nil)
		return nil
	}
	if got := get(t, s.Upper()); got["a"] != "mine" {
		t.Errorf("the running system has %v; want it as it is until the next boot", got)
	}
	if got := reconcile(t, s, two, "two"); len(got) != 0 || len(get(t, s.Upper())) != 0 {
		t.Errorf("after Revert: %v, %v; want nothing", got, get(t, s.Upper()))
	}
	if diff := cmp.Diff([]bool{true, false}, ordered); diff != "" {
		t.Errorf("whether the order to revert stood at each sync (-want +got):\n%s", diff)
	}
	put(t, s.Upper(), files{"a": "again"})
	if got := reconcile(t, s, two, "two"); !cmp.Equal(got, map[string]bool{"a": false}) {
		t.Errorf("changed again after Revert: %v; want it kept", got)
	}
}

// What List shows can be accepted: conflicts end, and others stay as they are.
func TestAccept(t *testing.T) {
	for _, tt := range []struct {
		name  string
		path  string
		since files // changed since the boot
		want  error
		after map[string]bool
	}{
		{"a conflict", "d/a", nil, nil, map[string]bool{"d/a": false, "d/b": true, "e": false}},
		{"all in a folder", "d", nil, nil, map[string]bool{"d/a": false, "d/b": false, "e": false}},
		{"no conflict", "e", nil, nil, map[string]bool{"d/a": true, "d/b": true, "e": false}},
		{"changed since the boot", "f", files{"f": "mine"}, nil, map[string]bool{"d/a": true, "d/b": true, "e": false, "f": false}},
		{"not changed", "f", nil, etc.ErrNoChange, map[string]bool{"d/a": true, "d/b": true, "e": false}},
		{"the image's again since the boot", "d/a", files{"d/a": "2"}, etc.ErrNoChange, map[string]bool{"d/b": true, "e": false}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, _ := newStore(t)
			one := put(t, t.TempDir(), files{"d/a": "1", "d/b": "1", "e": "1", "f": "1"})
			two := put(t, t.TempDir(), files{"d/a": "2", "d/b": "2", "e": "1", "f": "1"})
			reconcile(t, s, one, "one")
			put(t, s.Upper(), files{"d/a": "mine", "d/b": "mine", "e": "mine"})
			reconcile(t, s, two, "two")
			put(t, s.Upper(), tt.since)
			if err := s.Accept(tt.path); !errors.Is(err, tt.want) {
				t.Errorf("Accept(%s) = %v; want %v", tt.path, err, tt.want)
			}
			if diff := cmp.Diff(tt.after, reconcile(t, s, two, "two")); diff != "" {
				t.Errorf("changes and conflicts at the next boot (-want +got):\n%s", diff)
			}
		})
	}
}

func TestList(t *testing.T) {
	s, _ := newStore(t)
	one, two := put(t, t.TempDir(), files{"a": "1", "b": "1", "c": "1"}), put(t, t.TempDir(), files{"a": "2", "b": "1", "c": "1"})
	if list, err := s.List(); err != nil || list != nil {
		t.Errorf("List() of nothing = %v, %v", list, err)
	}
	reconcile(t, s, one, "one")
	put(t, s.Upper(), files{"a": "mine"})
	reconcile(t, s, two, "two")
	put(t, s.Upper(), files{"b": "gone", "d/new": "x", "c": "1", "machine-id": "x"})
	want := []etc.Listed{
		{Path: "a", Change: "changed", Conflict: true}, {Path: "b", Change: "removed"},
		{Path: "d", Change: "added"}, {Path: "d/new", Change: "added"}}
	got, err := s.List()
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("List() error %v (-want +got):\n%s", err, diff)
	}
}

// A record that is lost, or of another version, loses no change.
func TestRecordLost(t *testing.T) {
	for _, text := range []string{"", "{", `{"format":9,"image":"one"}`} {
		s, _ := newStore(t)
		one := put(t, t.TempDir(), files{"a": "1", "b": "1"})
		reconcile(t, s, one, "one")
		put(t, s.Upper(), files{"a": "mine"})
		reconcile(t, s, one, "one")
		if err := os.WriteFile(filepath.Join(s.Path, "state.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := reconcile(t, s, one, "one"); !cmp.Equal(got, map[string]bool{"a": false}) {
			t.Errorf("record %q: changes %v; want a", text, got)
		}
	}
}

var errPower = errors.New("power")

// A cut between taking files away and the save of the record leaves what the
// next boot finishes.
func TestReconcileCut(t *testing.T) {
	s, _ := newStore(t)
	one, two := put(t, t.TempDir(), files{"a": "1", "b": "1"}), put(t, t.TempDir(), files{"a": "2", "b": "2"})
	reconcile(t, s, one, "one")
	put(t, s.Upper(), files{"a": "1", "b": "mine"})
	cut := s
	cut.Sync = func() error { return errPower }
	if _, err := cut.Reconcile(two, "two"); !errors.Is(err, errPower) {
		t.Fatalf("Reconcile() = %v; want %v", err, errPower)
	}
	if got := reconcile(t, s, two, "two"); !cmp.Equal(got, map[string]bool{"b": true}) {
		t.Errorf("after the cut: %v; want b, in conflict", got)
	}
	if diff := cmp.Diff(files{"b": "mine"}, get(t, s.Upper())); diff != "" {
		t.Errorf("upper directory (-want +got):\n%s", diff)
	}
}

// Whatever happens in whatever order, a file that the device has otherwise
// than the image it was changed on stays, and every other is the image's.
func TestReconcileModel(t *testing.T) {
	for seed := range uint64(25) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s, _ := newStore(t)
		names := []string{"a", "d/b", "d/c", "e"}
		images := make([]files, 3)
		lowers := make([]string, len(images))
		for i := range images {
			images[i] = files{}
			for _, name := range names {
				if rnd.IntN(4) > 0 {
					images[i][name] = fmt.Sprint("image ", rnd.IntN(3))
				}
			}
			lowers[i] = put(t, t.TempDir(), images[i])
		}
		own := files{} // what the device made of files; "gone" too
		at := 0
		reconcile(t, s, lowers[at], fmt.Sprint(at))
		for step := range 12 {
			name := names[rnd.IntN(len(names))]
			switch rnd.IntN(3) {
			case 0:
				own[name] = fmt.Sprint("own ", step)
				put(t, s.Upper(), files{name: own[name]})
			case 1:
				if images[at][name] != "" { // overlay makes a whiteout only then
					own[name] = "gone"
					put(t, s.Upper(), files{name: "gone"})
				}
			}
			at = rnd.IntN(len(images))
			reconcile(t, s, lowers[at], fmt.Sprint(at))
			for name, text := range own {
				if text == "gone" && images[at][name] == "" {
					delete(own, name) // the image has given it up too
				}
			}
			merged := files{}
			for _, layer := range []files{images[at], get(t, s.Upper())} {
				for name, text := range layer {
					if merged[name] = text; text == "gone" || strings.HasSuffix(name, "/") {
						delete(merged, name)
					}
				}
			}
			want := files{}
			for _, layer := range []files{images[at], own} {
				for name, text := range layer {
					if want[name] = text; text == "gone" {
						delete(want, name)
					}
				}
			}
			if diff := cmp.Diff(want, merged); diff != "" {
				t.Fatalf("seed %d, step %d, image %d: /etc (-want +got):\n%s", seed, step, at, diff)
			}
		}
	}
}
