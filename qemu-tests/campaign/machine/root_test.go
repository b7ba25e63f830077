package machine_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	machine.Clean()
	os.Exit(code)
}

// What one machine leaves in its initramfs the next one does not find.
func TestRootsAreSwept(t *testing.T) {
	d := recoverytest.NewDisk(t, 0, true)
	first := d.FillSlot(t, bootctl.SlotA, "1.0")
	d.FillSlot(t, bootctl.SlotRecovery, "golden")
	empty := tree(t)
	for _, tt := range []struct {
		name string
		do   func()
		keys string
		up   bool
	}{
		{"first boot", func() { d.SetState(t, bootctl.New().Install(bootctl.SlotA, first)) }, "", true},
		{"usual boot", func() {}, "", true},
		{"boot of an update", func() { d.SetState(t, d.State(t).Stage(bootctl.SlotB, d.FillSlot(t, bootctl.SlotB, "2.0"))) }, "", true},
		{"no init", func() {
			d.SetState(t, bootctl.New().Stage(bootctl.SlotB, d.FillSlot(t, bootctl.SlotB, "3.0-"+machine.NoInit)))
		}, "", false},
		{"no slot", func() { d.SetState(t, bootctl.New()) }, "", false},
		{"restore", func() {}, "2\r", true},
		{"factory reset", func() { d.SetState(t, d.State(t).RequestReset()) }, "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.do()
			m := machine.BootOnce(d.Dev, tt.keys)
			if m.Switched != tt.up {
				t.Fatalf("init started: %v, want %v; %q", m.Switched, tt.up, m.Messages)
			}
			if diff := cmp.Diff(empty, tree(t)); diff != "" {
				t.Errorf("the next machine's root differs from a new one (-new +swept):\n%s", diff)
			}
		})
	}
}

// tree lists what is in the root that the next machine gets.
func tree(t *testing.T) map[string]string {
	t.Helper()
	dir := machine.NextRoot(t)
	got := make(map[string]string)
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		name, _ := filepath.Rel(dir, p)
		st, err := e.Info()
		if err != nil {
			return err
		}
		got[name] = st.Mode().String()
		if e.Type().IsRegular() {
			raw, err := os.ReadFile(p)
			got[name] += " " + string(raw)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}
