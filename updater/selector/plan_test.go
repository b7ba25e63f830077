package selector_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/selector"
)

// wantUpdate runs an update and wants how it ends.
func wantUpdate(t *testing.T, m *machine, opt selector.Options, state selector.State, want fault.Kind) selector.Decision {
	t.Helper()
	d, err := m.update(opt)
	if d.State != state || kind(err) != want {
		t.Fatalf("update: %s, %v (kind %d); want %s, kind %d", d.State, err, kind(err), state, want)
	}
	return d
}

func wantBoots(t *testing.T, m *machine, want string, wantFailed int) {
	t.Helper()
	if got, failed := m.boot(); got != want || failed != wantFailed {
		t.Fatalf("%q comes up, after %d that do not; want %q after %d", got, failed, want, wantFailed)
	}
}

// TestUpdate follows a new selector from boot to boot.
func TestUpdate(t *testing.T) {
	m := newMachine(t)
	wantUpdate(t, m, selector.Options{}, selector.None, 0)
	m.slot = "good 0"
	if d := wantUpdate(t, m, selector.Options{}, selector.Current, 0); len(d.Steps) > 0 {
		t.Errorf("steps %v; want none: the slot brings what runs", d.Steps)
	}

	m.slot = "good 1"
	order := slices.Clone(m.vars["BootOrder"+global])
	wantUpdate(t, m, selector.Options{}, selector.Ordered, 0)
	if diff := cmp.Diff(order, m.vars["BootOrder"+global]); diff != "" || m.files[fallback] != "good 0" {
		t.Errorf("before the trial BootOrder or the fallback path changed: %s", diff)
	}
	if d := wantUpdate(t, m, selector.Options{}, selector.Ordered, 0); len(d.Steps) > 0 {
		t.Errorf("steps %v; want none before the next boot", d.Steps)
	}
	wantBoots(t, m, "good 1", 0)
	for i, want := range []string{"good 0", "good 0", "good 1"} { // tried, default once, default again
		wantUpdate(t, m, selector.Options{}, selector.Current, 0)
		if got := m.files[fallback]; got != want {
			t.Errorf("fallback path in boot %d of the new one: %q; want %q", i+1, got, want)
		}
		wantBoots(t, m, "good 1", 0)
	}

	for _, next := range []string{"good 2", "good 3"} {
		m.slot = next
		settle(t, m)
	}
	want := []string{selector.Path(digest("good 2")), selector.Path(digest("good 3")), fallback}
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(maps.Keys(m.files))); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if got := m.first(); got != "good 3" {
		t.Errorf("BootOrder starts with %q; want good 3", got)
	}

	m.slot = "good 2" // a rollback
	settle(t, m)
}

// TestBrokenSelector: one that does not come up costs one boot, and is not
// tried again by itself.
func TestBrokenSelector(t *testing.T) {
	m := newMachine(t)
	m.slot = "bad 1"
	wantUpdate(t, m, selector.Options{}, selector.Ordered, 0)
	wantBoots(t, m, "good 0", 1)
	wantUpdate(t, m, selector.Options{}, selector.Failed, fault.Refused)
	for name := range m.files {
		if strings.HasPrefix(name, selector.Dir) {
			t.Errorf("%s is left over", name)
		}
	}
	for range 3 {
		wantBoots(t, m, "good 0", 0)
		wantUpdate(t, m, selector.Options{}, selector.Failed, fault.Refused)
	}
	wantUpdate(t, m, selector.Options{Retry: true}, selector.Ordered, 0)
	wantBoots(t, m, "good 0", 1)
	wantUpdate(t, m, selector.Options{}, selector.Failed, fault.Refused)

	m.slot = "good 2"
	settle(t, m)
}

// TestTrialWithoutConfirmation: it came up, but nothing confirmed the slot in
// that boot; the next one is of the old selector.
func TestTrialWithoutConfirmation(t *testing.T) {
	m := newMachine(t)
	m.slot = "good 1"
	wantUpdate(t, m, selector.Options{}, selector.Ordered, 0)
	wantBoots(t, m, "good 1", 0)
	wantBoots(t, m, "good 0", 0)
	wantUpdate(t, m, selector.Options{}, selector.Failed, fault.Refused)
}

// TestFullESP writes nothing where a new selector does not fit.
func TestFullESP(t *testing.T) {
	m := newMachine(t)
	m.slot = "good 1 " + strings.Repeat("x", 100)
	m.size = 16 + 112 + 2*cluster // the old one, the new one and folders
	m.size--
	before := maps.Clone(m.vars)
	wantUpdate(t, m, selector.Options{}, selector.Due, fault.NoRoom)
	if diff := cmp.Diff(before, m.vars); diff != "" || len(m.files) != 1 || len(m.log) > 0 {
		t.Errorf("files %v, operations %q, variables: %s; want nothing changed", m.files, m.log, diff)
	}
	// What a cut left counts as free, and is gone before the new file.
	m.disk[selector.Path("0123456789abcdef")] = strings.Repeat("x", 20)
	m.disk[selector.Replacement(fallback)] = strings.Repeat("x", 20)
	m.boot()
	wantUpdate(t, m, selector.Options{}, selector.Due, fault.NoRoom)
	if len(m.files) != 1 {
		t.Errorf("files %v; want no leftovers", m.files)
	}
	m.size++
	wantUpdate(t, m, selector.Options{}, selector.Ordered, 0)
}

// TestFormerMakesWay: the former selector is removed where there is no room
// for three and the fallback path.
func TestFormerMakesWay(t *testing.T) {
	m := newMachine(t)
	for _, s := range []string{"good 1", "good 2"} {
		m.slot = s
		settle(t, m)
	}
	m.size = 4*cluster + 2*cluster - 1
	m.slot = "good 3"
	wantUpdate(t, m, selector.Options{}, selector.Ordered, 0)
	if _, there := m.files[selector.Path(digest("good 1"))]; there || len(m.files) != 3 {
		t.Errorf("files %v; want good 1 gone, good 2 and 3 and the fallback path", m.files)
	}
	wantBoots(t, m, "good 3", 0)
}

// TestWithoutVariables replaces the only selector when that is allowed.
func TestWithoutVariables(t *testing.T) {
	m := newMachine(t)
	m.none, m.slot = true, "good 1"
	m.boot()
	wantUpdate(t, m, selector.Options{}, selector.Due, fault.Refused)
	if len(m.files) != 1 {
		t.Errorf("files %v; want only the old one", m.files)
	}
	m.size = 3*cluster + 3*cluster // two new ones, not two folders
	wantUpdate(t, m, selector.Options{ReplaceFallback: true}, selector.Due, fault.NoRoom)
	if len(m.files) != 1 {
		t.Errorf("files %v; want only the old one", m.files)
	}
	m.size = 1 << 10
	wantUpdate(t, m, selector.Options{ReplaceFallback: true}, selector.Current, 0)
	wantBoots(t, m, "good 1", 0)
	want := map[string]string{fallback: "good 1", selector.Path(digest("good 1")): "good 1"}
	if diff := cmp.Diff(want, m.files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	wantUpdate(t, m, selector.Options{ReplaceFallback: true}, selector.Current, 0)
}

// TestSharedClusters: what may be a second name of the fallback path's clusters
// is not removed, and nothing takes its place.
func TestSharedClusters(t *testing.T) {
	for _, none := range []bool{false, true} {
		m := newMachine(t)
		m.disk[selector.Replacement(fallback)] = "good 0"
		m.none, m.slot = none, "good 1"
		m.boot()
		for range 5 {
			d, _ := m.update(selector.Options{ReplaceFallback: true})
			for _, s := range d.Steps {
				if s.File == fallback || s.File == selector.Replacement(fallback) {
					t.Errorf("without variables: %t: step %v; want both names left alone", none, s)
				}
			}
			m.boot()
		}
		want := map[bool]selector.State{false: selector.Current, true: selector.Due}[none]
		if d := wantUpdate(t, m, selector.Options{ReplaceFallback: true}, want, fault.Refused); !strings.Contains(d.Err.Error(), "fsck.fat") {
			t.Errorf("without variables: %t: error %v; want what helps", none, d.Err)
		}
	}
}

// TestUnreadable: a file whose clusters a cut has left free cannot be read,
// and is written anew.
func TestUnreadable(t *testing.T) {
	m := newMachine(t)
	m.slot = "good 1"
	file := selector.Path(digest("good 1"))
	m.disk[file], m.unreadable = "good", file
	m.boot()
	d := wantUpdate(t, m, selector.Options{}, selector.Ordered, 0)
	if len(d.Steps) == 0 || d.Steps[0].Kind != selector.RemoveFile || d.Steps[0].File != file {
		t.Errorf("steps %v; want %s removed first", d.Steps, file)
	}
	wantBoots(t, m, "good 1", 0)
}

// TestWithoutVariablesCut: up to the rename of the fallback path a cut leaves
// the old selector, after it the new one.
func TestWithoutVariablesCut(t *testing.T) {
	for cut := 0; ; cut++ {
		m := newMachine(t)
		m.none, m.slot = true, "good 1"
		m.boot()
		m.left = cut
		_, err := m.update(selector.Options{ReplaceFallback: true})
		for _, c := range m.cuts() {
			if came, _ := c.boot(); came != "good 0" && came != "good 1" {
				t.Errorf("%q comes up after\n\t%s", came, strings.Join(c.log, "\n\t"))
			}
		}
		if !errors.Is(err, errCut) {
			break
		}
	}
}

// TestForeignLoader: what abupdate did not install it does not replace.
func TestForeignLoader(t *testing.T) {
	m := newMachine(t)
	m.disk["EFI/Linux/other.efi"] = "good other"
	m.boot()
	m.vars[imageVar] = encode16(`\EFI\Linux\other.efi`)
	m.slot = "good 1"
	if d := wantUpdate(t, m, selector.Options{}, selector.Due, fault.Refused); len(d.Steps) > 0 {
		t.Errorf("steps %v; want none", d.Steps)
	}
	m.slot = "good other"
	wantUpdate(t, m, selector.Options{}, selector.Current, 0)
}

// TestDefaultNotStarted: firmware that does not keep to BootOrder is not tried
// over and over.
func TestDefaultNotStarted(t *testing.T) {
	m := newMachine(t)
	m.slot = "good 1"
	wantUpdate(t, m, selector.Options{}, selector.Ordered, 0)
	wantBoots(t, m, "good 1", 0)
	wantUpdate(t, m, selector.Options{}, selector.Current, 0)
	m.vars["BootOrder"+global] = []byte{0, 0}
	wantBoots(t, m, "good 0", 0)
	for range 2 {
		wantUpdate(t, m, selector.Options{}, selector.Failed, fault.Refused)
		wantBoots(t, m, "good 0", 0)
	}
}

// TestRecordLost: what runs and is confirmed becomes the default again.
func TestRecordLost(t *testing.T) {
	m := newMachine(t)
	m.slot = "good 1"
	settle(t, m)
	for name := range m.vars {
		if strings.HasPrefix(name, "AbupdateSelector") {
			m.vars[name] = []byte("{")
		}
	}
	m.slot = "good 2"
	settle(t, m)
}

// TestDamagedSelector: the file that was started is repaired from the slot.
func TestDamagedSelector(t *testing.T) {
	m := newMachine(t)
	m.slot = "good 1"
	settle(t, m)
	m.files[selector.Path(digest("good 1"))] = "damaged"
	wantUpdate(t, m, selector.Options{}, selector.Current, 0)
	wantBoots(t, m, "good 1", 0)
}
