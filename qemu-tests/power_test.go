package qemutests

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
)

// TestPowerCuts kills QEMU at random moments of an apply that runs in the
// guest. The device comes up with the old system or the new one, and then
// takes the update.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("ABUPDATE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("ABUPDATE_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	d := newDevice(t)
	tags, versions := []string{"v1", "v2", "v3"}, []string{"1.0", "2.0", "3.0"}
	slot, at := "a", 0

	// A whole apply says how long one takes.
	g := d.start()
	g.wantBoot(slot, versions[at])
	g.run("abupdate", "mark-good")
	begin := time.Now()
	g.applyUpdate(tags[1], "--insecure")
	whole := time.Since(begin)
	t.Logf("an undisturbed apply takes %v", whole.Round(time.Millisecond))
	g.reboot()
	slot, at = "b", 1
	g.wantBoot(slot, versions[at])
	g.run("abupdate", "mark-good")

	old, fresh := 0, 0
	for i := range 20 {
		next := (at + 1) % 3
		if err := g.Begin("abupdate", "apply", guestRegistry+"/update:"+tags[next], "--insecure", "--allow-downgrade"); err != nil {
			t.Fatal(err)
		}
		moment := time.Duration(rng.Int64N(int64(whole * 13 / 10)))
		time.Sleep(moment)
		g.Kill()
		if st := d.status(); st.Slots[slot].State != bootctl.Good || st.Fallback != nil {
			t.Fatalf("cut %d after %v: status = %+v; want %s good, no fallback", i, moment, st, slot)
		}
		g = d.start()
		b := g.waitBoot()
		other := map[string]string{"a": "b", "b": "a"}[slot]
		switch {
		case b.Slot == slot && b.Version == versions[at]:
			old++
		case b.Slot == other && b.Version == versions[next]:
			fresh++
			slot, at = other, next
		default:
			t.Fatalf("cut %d after %v: booted slot %s with version %s; want %s with %s or %s with %s",
				i, moment, b.Slot, b.Version, slot, versions[at], other, versions[next])
		}
		g.run("abupdate", "mark-good")
	}
	t.Logf("20 cuts: %d times the old system, %d times the new one", old, fresh)
	next := (at + 1) % 3
	g.applyUpdate(tags[next], "--insecure", "--allow-downgrade")
	g.reboot()
	g.wantBoot(map[string]string{"a": "b", "b": "a"}[slot], versions[next])
}
