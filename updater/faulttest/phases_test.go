package faulttest_test

import (
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	fs "github.com/abupdate/abupdate/internal/faultserver"
	ut "github.com/abupdate/abupdate/updater/updatertest"
	"github.com/abupdate/abupdate/verity"
)

// whole is what an apply of v2 without faults fetches.
type whole struct{ data, tree int64 }

// measure applies v2 once, without faults.
func measure(t *testing.T) whole {
	t.Helper()
	measured.Do(func() {
		d := newDevice(t, "")
		d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
		measuredAs = whole{d.Total(fs.Data).Bytes, d.Total(fs.Tree).Bytes}
	})
	if measuredAs.data == 0 || measuredAs.tree == 0 {
		t.Fatalf("an apply without faults fetched %+v", measuredAs)
	}
	return measuredAs
}

var (
	measured   sync.Once
	measuredAs whole
)

// A phaseRow is a moment at which the process ends.
type phaseRow struct {
	row
	// at calls hit when the moment has come.
	at func(w whole, hit func()) fs.Fault
	// step is the moment instead: the first progress of that step.
	step string
	tree bool // the next apply has the tree
}

func atRequest(role fs.Role) func(whole, func()) fs.Fault {
	return func(_ whole, hit func()) fs.Fault { return fs.On(fs.HookRequest(hit), role) }
}

// atData is the moment when the server has sent so many percent of the data.
func atData(percent int64) func(whole, func()) fs.Fault {
	return func(w whole, hit func()) fs.Fault { return fs.On(fs.HookSent(w.data*percent/100, hit), fs.Data) }
}

var phaseRows = []phaseRow{
	{row: row{"ping", 130, nil}, at: atRequest(fs.Ping)},
	{row: row{"manifest", 130, nil}, at: atRequest(fs.Manifest)},
	{row: row{"config", 130, nil}, at: atRequest(fs.Config)},
	{row: row{"signatures", 130, nil}, at: atRequest(fs.SigManifest)},
	{row: row{"tree", 130, nil}, at: atRequest(fs.Tree)},
	{row: row{"half of the tree", 130, nil}, at: func(w whole, hit func()) fs.Fault { return fs.On(fs.HookSent(w.tree/2, hit), fs.Tree) }},
	{row: row{"first byte of the data", 130, nil}, at: atData(0), tree: true},
	{row: row{"a quarter of the data", 130, nil}, at: atData(25), tree: true},
	{row: row{"half of the data", 130, nil}, at: atData(50), tree: true},
	{row: row{"nearly all of the data", 130, nil}, at: atData(99), tree: true},
	{row: row{"write", 130, nil}, step: "write", tree: true},
	{row: row{"read back", 130, nil}, step: "read back", tree: true},
	{row: row{"commit", 130, nil}, step: "commit", tree: true},
}

// TestKilled ends the process at each phase. The system that runs is as it
// was, and the next apply fetches what is missing and no more.
func TestKilled(t *testing.T) {
	measure(t)
	for _, tt := range phaseRows {
		for name, sig := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGKILL": syscall.SIGKILL} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				tt.test(t, sig)
			})
		}
	}
}

func (tt phaseRow) test(t *testing.T, sig syscall.Signal) {
	d, w := newDevice(t, ""), measure(t)
	started := make(chan *run, 1)
	var once sync.Once
	hit := func() {
		once.Do(func() {
			r := <-started
			if tt.step == "" {
				d.settle(t)
			}
			r.signal(t, sig)
			if tt.step == "" { // the server says no more before it is dead
				r.wait()
			}
		})
	}
	step := func(line string) {
		if tt.step != "" && strings.Contains(line, `"step":"`+tt.step+`"`) {
			hit()
		}
	}
	if tt.at != nil {
		d.Set(tt.at(w, hit))
	}
	r := d.start(t, step, "apply", "--disk", d.disk, d.ref("v2"))
	started <- r
	got := r.wait()
	if got.code == 0 && tt.step != "" { // it was faster than the signal
		d.checkApplied(t, got, "2.0")
		return
	}
	d.checkKilled(t, got, sig)
	missing := d.missing(t)
	d.checkFinishes(t, "2.0", d.ref("v2"))
	d.checkResumed(t, w, missing, tt.tree)
}

// settle waits until the command has written what came to it: until the disk
// was left alone for a while.
func (d *device) settle(t *testing.T) {
	var last time.Time
	for quiet := 0; quiet < 8; quiet++ {
		time.Sleep(25 * time.Millisecond)
		st, err := os.Stat(d.disk)
		if err != nil {
			t.Error(err)
			return
		}
		if !st.ModTime().Equal(last) {
			last, quiet = st.ModTime(), 0
		}
	}
}

func (d *device) checkKilled(t *testing.T, got result, sig syscall.Signal) {
	t.Helper()
	if sig == syscall.SIGTERM {
		d.checkFailed(t, got, 130)
	} else if got.code != -1 || len(got.messages) != 0 {
		t.Errorf("exit code %d, messages %q; want death without a word", got.code, got.messages)
	}
	st := d.state(t)
	if next := st.Active(); next == bootctl.SlotA {
		d.checkUntouched(t, bootctl.SlotA)
	} else { // the last moment before the end
		d.checkUntouched(t, bootctl.SlotB)
	}
}

// missing counts the bytes of v2 that neither slot of the disk has.
func (d *device) missing(t *testing.T) (bytes int64) {
	t.Helper()
	dev := d.open(t)
	defer dev.Close()
	have := make(map[string]bool)
	buf := make([]byte, verity.BlockSize)
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		sec := ut.Slot(t, ut.DiskOn(t, dev), slot)
		for off := int64(0); off < sec.Size(); off += verity.BlockSize {
			if _, err := sec.ReadAt(buf, off); err != nil {
				t.Fatal(err)
			}
			have[string(buf)] = true
		}
	}
	image := squashfsIn(t, d.dir, "v2")
	for ; len(image) > 0; image = image[verity.BlockSize:] {
		if !have[string(image[:verity.BlockSize])] {
			bytes += verity.BlockSize
		}
	}
	return bytes
}

// checkResumed makes sure that the apply after an interrupted one fetched what
// was missing, with the gaps between missing blocks.
func (d *device) checkResumed(t *testing.T, w whole, missing int64, tree bool) {
	t.Helper()
	data, trees := d.Total(fs.Data), d.Total(fs.Tree)
	t.Logf("fetched %d bytes of data in %d ranges; %d were missing, %d without an interruption", data.Bytes, data.Ranges, missing, w.data)
	const gap = 16 << 10
	if most := missing + int64(data.Ranges)*gap; data.Bytes > most {
		t.Errorf("fetched %d bytes of data; want at most %d", data.Bytes, most)
	}
	if tree && trees.Bytes > 0 {
		t.Errorf("fetched the tree again: %d bytes", trees.Bytes)
	}
}
