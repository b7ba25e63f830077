package qemutests

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/partitions"
)

func footer(_ *partitions.SlotContent, size int64) int64 { return size - 4096 + 20 }

// TestRestore loses both slots: b panics in its last try, and a, which does not
// open any more, fails for the last time that is borne. The device waits in
// recovery, where the golden image goes back into slot a.
func TestRestore(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	d.host("apply", d.d.image("panics"))
	d.corrupt(bootctl.SlotA, footer)
	d.edit(func(s *bootctl.State) {
		s.Slot(bootctl.SlotA).FailedBoots = bootctl.MaxFailedBoots - 1
		s.Slot(bootctl.SlotB).TriesLeft = 1
	})
	g := d.start()
	g.wantBoot("b", "2.1")
	g.expect(`abupdate recovery`)
	restore := g.expect(`(?m)^\s*(\d)\W+restore the golden image into slot a \(1\.0`)[1]
	g.expect(`choice \[`)
	g.typeKeys(restore + "\r")
	g.wantBoot("a", "1.0")
	if st := g.status(); st.Slots["a"].Problem != "" || st.Slots["a"].State != bootctl.Good {
		t.Errorf("slot a after restore = %+v; want good, no problem", st.Slots["a"])
	}
}

// TestRecoveryByOrder opens recovery from the command line and leaves it
// through "retry slot a".
func TestRecoveryByOrder(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	g := d.start("abupdate.slot=recovery")
	g.expect(`abupdate recovery`)
	retry := g.expect(`(?m)^\s*(\d)\W+retry slot a`)[1]
	g.expect(`choice \[`)
	g.typeKeys(retry + "\r")
	g.wantBoot("a", "1.0")
}

// TestFactoryReset empties /var and nothing else.
func TestFactoryReset(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	g := d.start()
	g.wantBoot("a", "1.0")
	before := g.status()
	g.run("guest", "write", "/var/lib/data", "x")
	id := g.run("guest", "cat", "/etc/machine-id")
	g.run("abupdate", "factory-reset", "--yes")
	g.reboot()
	g.wantBoot("a", "1.0")
	wantReset(t, g, before.Slots["a"].RootHash)
	if got := g.run("guest", "cat", "/etc/machine-id"); got == id {
		t.Errorf("machine-id = %q after factory reset; want another one", got)
	}
}

// TestFactoryResetCut cuts the power at several moments of a factory reset:
// the next boot ends it.
func TestFactoryResetCut(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	g := d.start()
	g.wantBoot("a", "1.0")
	root := g.status().Slots["a"].RootHash
	g.Kill()
	for _, after := range []time.Duration{0, 20 * time.Millisecond, 150 * time.Millisecond, 600 * time.Millisecond} {
		d.host("factory-reset", "--yes")
		g = d.start()
		g.expect(`factory reset`)
		time.Sleep(after)
		g.Kill()
		t.Logf("cut %v after the start: phase %q", after, d.status().Reset)
		g = d.start()
		g.wantBoot("a", "1.0")
		wantReset(t, g, root)
		g.run("guest", "write", "/var/lib/data", "x")
		g.Kill()
	}
}

func wantReset(t *testing.T, g *guest, root string) {
	t.Helper()
	if r := g.try("guest", "cat", "/var/lib/data"); r.Exit == 0 {
		t.Error("/var/lib/data is still there after factory reset")
	}
	st := g.status()
	if st.Reset != bootctl.ResetNone || st.Slots["a"].State != bootctl.Good || st.Slots["a"].RootHash != root {
		t.Errorf("status after factory reset = %+v; want no reset under way, slot a good with root hash %s", st, root)
	}
	if !strings.Contains(g.run("guest", "cat", "/proc/mounts"), " /var ext4 rw") {
		t.Error("/var is not mounted after factory reset")
	}
}

// expect waits for a line on the console.
func (g *guest) expect(re string) []string {
	g.t.Helper()
	m, err := g.Expect(deadline(g.t, 4*bootTime), regexp.MustCompile(re))
	if err != nil {
		g.t.Fatal(err)
	}
	return m
}

func (g *guest) typeKeys(keys string) {
	g.t.Helper()
	if err := g.Type(keys); err != nil {
		g.t.Fatal(err)
	}
}

// edit changes the boot state on the disk.
func (d *device) edit(change func(*bootctl.State)) {
	d.t.Helper()
	sec, err := d.open().State()
	if err != nil {
		d.t.Fatal(err)
	}
	store := bootctl.Open(sec)
	state, err := store.Load()
	if err != nil {
		d.t.Fatal(err)
	}
	change(&state)
	if err := store.Save(state); err != nil {
		d.t.Fatal(err)
	}
}
