package qemutests

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/vm"
	"github.com/abupdate/abupdate/qemu-tests/campaign/esp"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/selector"
)

// goodFile is a selector that slots have at hand, selectorFile a broken one.
const goodFile = "/usr/lib/good.efi"

// trials are boots whose ESP is logged.
type trials struct {
	*espLog
	file  string         // of the log
	marks map[int]string // by the log's entries
	names []string       // of the marks, in their order
	vars  []string       // copies of the variables as they were at each
}

// testSelectorTrials follows a device over five boots, and cuts each of them.
func testSelectorTrials(t *testing.T) {
	bound := espBound{states: 100, least: 50, oracle: 1, guests: 1}
	if *full {
		bound = espBound{states: 5000, least: 4000, oracle: 50, guests: 5}
	}
	path, bad, good := updater.LoaderPath("amd64"), strings.Repeat("no EFI program\n", 1000), newSelector(t, "newer=1")
	d := selectorDevice(t, "128M", map[string]string{selectorFile: bad, goodFile: good})
	r := &trials{espLog: d.newESPLog(), file: filepath.Join(t.TempDir(), "log"), marks: make(map[int]string)}
	d.cfg.Vars = filepath.Join(t.TempDir(), "vars.fd")
	r.run(bad)
	r.feed(r.file, r.marks)
	old := r.content(path)
	own := []string{path, selector.Path(hexSum(bad)), selector.Path(hexSum(good))}
	r.promises = []promise{
		{"begin", path, []string{old}}, {"ordered", own[2], []string{good}},
		{"seen", path, []string{old, good}}, {"replaced", path, []string{good}},
	}
	r.replay(bound, path, func(img *blockdevtest.Image, cut blockdevtest.Cut) { r.boots(img, cut, own) })
}

// run is what is logged: a broken selector, then a good one.
func (r *trials) run(bad string) {
	t, path := r.d.t, updater.LoaderPath("amd64")
	t.Helper()
	cfg := r.d.cfg
	cfg.Disks = []vm.Disk{{Path: r.d.disk, NoBootIndex: true, WriteLog: r.file}}
	g := start(t, cfg)
	g.wantBoot("a", "1.0")
	r.mark(g, "begin")
	g.wantSelector(selector.Due, path)
	if r := g.try("abupdate", "mark-good"); r.Exit != 0 || r.Stderr != "" {
		t.Fatalf("mark-good: %+v; want the selector ordered", r)
	}
	r.reboot(g, "broken one ordered")
	g.wantRefused(path)
	g.run("guest", "cp", goodFile, selectorFile)
	g.run("abupdate", "selector", "update")
	for _, name := range []string{"ordered", "default", "seen"} {
		r.reboot(g, name)
		g.run("guest", "cp", goodFile, selectorFile)
		g.wantNewSelector()
		g.run("abupdate", "mark-good")
	}
	r.mark(g, "replaced")
	g.Kill()
}

// mark names how far the log is, and keeps the variables as they are.
func (r *trials) mark(g *guest, name string) {
	r.d.t.Helper()
	g.run("guest", "sync")
	r.marks[r.d.log(r.file).Entries()] = name
	vars := filepath.Join(r.d.t.TempDir(), "vars.fd")
	copyFile(r.d.t, r.d.cfg.Vars, vars)
	r.names, r.vars = append(r.names, name), append(r.vars, vars)
}

// reboot marks what was done once the next boot is up: its variables are
// those that a cut in that boot leaves.
func (r *trials) reboot(g *guest, name string) {
	r.d.t.Helper()
	g.reboot()
	g.wantBoot("a", "1.0")
	r.mark(g, name)
}

// boots starts a state with the variables of its time, in OVMF, and goes on to
// the good selector.
func (r *trials) boots(img *blockdevtest.Image, cut blockdevtest.Cut, own []string) {
	r.d.t.Run("state", func(t *testing.T) {
		disk, vars := filepath.Join(t.TempDir(), "state.img"), filepath.Join(t.TempDir(), "vars.fd")
		copyFile(t, r.before, disk)
		r.rewind(disk, img)
		for i, name := range r.names {
			if cut.Reached(name) {
				copyFile(t, r.vars[i], vars)
			}
		}
		cfg := r.d.cfg
		cfg.Disks, cfg.Vars = []vm.Disk{{Path: disk, NoBootIndex: true}}, vars
		g := start(t, cfg)
		g.wantBoot("a", "1.0")
		g.run("abupdate", "mark-good")
		g.run("guest", "cp", goodFile, selectorFile)
		if u := g.try("abupdate", "selector", "update", "--retry"); u.Exit != 0 && u.Exit != int(fault.Nothing) {
			t.Errorf("selector update: %+v; want it ordered, or there already", u)
		}
		g.Kill()
		_, sec := espOf(t, disk)
		f, err := esp.Read(sec)
		if err != nil {
			t.Fatal(err)
		}
		if left := leftovers(f, own...); len(left) > 0 || len(f.Shared) > 0 {
			t.Errorf("after the next update %q is left, %q shared; want %q", left, f.Shared, own)
		}
	})
}
