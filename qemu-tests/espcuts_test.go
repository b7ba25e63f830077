package qemutests

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/vm"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/selector"
)

// TestReplaySelector logs what the kernel writes to the ESP while the only
// selector is replaced twice, on a machine without EFI variables. Then the
// power goes at each sync and between, where the disk may have done what was
// not synced in any order and in part: the path that the firmware starts holds
// the selector from before or the one from after, whole. In the same guest the
// ESP is put back to some of these states, and the next update goes through.
func TestReplaySelector(t *testing.T) {
	t.Parallel()
	bound := espBound{states: 300, least: 150, oracle: 3, guests: 5}
	if *full {
		bound = espBound{states: 1 << 20, least: 2000, oracle: 100, guests: 200}
	}
	one, two := noise(1, 700_000), noise(2, 500_001)
	d := selectorDevice(t, "64M", map[string]string{selectorFile: one, "/usr/lib/two.efi": two})
	d.d = &depot{}
	d.useSelector()
	l := d.newESPLog()
	file := filepath.Join(t.TempDir(), "log")
	d.cfg.Forward, d.cfg.Disks = nil, []vm.Disk{{Path: d.disk, WriteLog: file}}
	g := start(t, d.cfg)
	g.wantBoot("a", "1.0")
	g.run("abupdate", "mark-good")
	marks := make(map[int]string)
	mark := func(name string) {
		g.run("guest", "sync")
		marks[d.log(file).Entries()] = name
	}
	mark("begin")
	g.run(selectorUpdate...)
	mark("one")
	g.run("guest", "cp", "/usr/lib/two.efi", selectorFile)
	g.run(selectorUpdate...)
	mark("two")
	l.feed(file, marks)
	path := updater.LoaderPath("amd64")
	old := l.content(path)
	l.promises = []promise{
		{"begin", path, []string{old, one}},
		{"one", path, []string{one, two}},
		{"two", path, []string{two}},
	}
	l.replay(bound, path, func(img *blockdevtest.Image, _ blockdevtest.Cut) { l.goOn(g, img, path, two) })
}

// selectorUpdate is how it goes without EFI variables.
var selectorUpdate = []string{"abupdate", "selector", "update", "--without-variables"}

// goOn puts a running guest's ESP back to a state, and updates from there.
func (l *espLog) goOn(g *guest, img blockdev.Device, path, want string) {
	t := l.d.t
	t.Helper()
	l.rewind(l.d.disk, img)
	g.run("guest", "write", "/proc/sys/vm/drop_caches", "3")
	if r := g.try(selectorUpdate...); r.Exit != 0 && r.Exit != int(fault.Nothing) {
		t.Fatalf("selector update: %+v", r)
	}
	_, f := l.d.readESP()
	own := selector.Path(hexSum(want))
	if b, err := f.Content(path); err != nil || string(b) != want {
		t.Fatalf("after the next update %s has %d bytes, %v; want the slot's selector", path, len(b), err)
	}
	if left := leftovers(f, path, own); len(left) > 0 || len(f.Shared) > 0 {
		t.Fatalf("after the next update %q is left, %q shared; want only %s and %s", left, f.Shared, path, own)
	}
}

// An espBound says how many states are tried, about, and how many at least; and
// of those how many are read by other tools and taken further in a guest, at
// most.
type espBound struct{ states, least, oracle, guests int }

// replay tries the states. Of those for other tools and for guests the first
// are of all kinds, the rest are taken evenly.
func (l *espLog) replay(bound espBound, path string, goOn func(img *blockdevtest.Image, cut blockdevtest.Cut)) {
	t := l.d.t
	t.Helper()
	all := 0
	for range l.rec.CrashesIf(func(blockdevtest.Cut) bool { all++; return false }) {
	}
	n, stride := 0, max(1, all/bound.states)
	want := func(blockdevtest.Cut) bool { n++; return n%stride == 0 }
	var tally espTally
	kinds := make(map[string]int)
	for img, cut := range l.rec.CrashesIf(want) {
		f, err := l.check(img, cut)
		if err != nil {
			t.Fatalf("cut %v: %v", cut, err)
		}
		tally.add(f)
		kind := f.Partial()
		kinds[kind]++
		taken := func(n, of, most int) bool {
			return of < most && (kind != "" && kinds[kind] == 1 || n%(1+all/most) < stride)
		}
		if taken(n, tally.checked, bound.oracle) {
			tally.checked++
			l.oracle(img, f, path)
		}
		if taken(n, tally.guests, bound.guests) {
			tally.guests++
			t.Logf("in a guest: cut %v, in part: %q", cut, kind)
			goOn(img, cut)
		}
	}
	t.Logf("%v; there are %d", &tally, all)
	if tally.states < bound.least || tally.dirty == 0 || tally.lost == 0 || tally.partial == 0 || tally.guests == 0 || tally.checked == 0 {
		t.Errorf("want %d, of all these kinds", bound.least)
	}
}

// noise is n bytes that nothing makes smaller.
func noise(seed byte, n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return string(b)
}
