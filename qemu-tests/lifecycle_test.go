package qemutests

import (
	"strings"
	"testing"
	"time"
)

// TestFirstBoot follows a new device through two boots.
func TestFirstBoot(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	g := d.start()
	b := g.wantBoot("a", "1.0")
	t.Logf("init runs %.1f s after the kernel's start", b.Uptime)

	mounts := g.run("guest", "cat", "/proc/mounts")
	for _, want := range []string{" /var ext4 rw", "overlay / overlay rw"} {
		if !strings.Contains(mounts, want) {
			t.Errorf("mounts have no %q:\n%s", want, mounts)
		}
	}
	for _, dir := range []string{"/var/lib", "/var/log", "/var/cache", "/var/tmp"} {
		g.run("guest", "ls", dir)
	}
	id := g.run("guest", "cat", "/etc/machine-id")
	if len(strings.TrimSpace(id)) != 32 {
		t.Errorf("machine-id = %q; want 32 digits", id)
	}
	st := g.status()
	if st.Booted == nil || st.Booted.String() != "a" || st.Fallback != nil || st.Slots["a"].State != "good" {
		t.Errorf("status after the first boot = %+v; want a booted and good", st)
	}

	for _, name := range []string{"/etc/forget", "/usr/bin/forget", "/root/forget", "/var/lib/keep"} {
		g.run("guest", "write", name, "written at run time")
	}
	g.run("guest", "rm", "/etc/passwd")
	g.reboot()
	g.wantBoot("a", "1.0")
	for _, name := range []string{"/etc/forget", "/usr/bin/forget", "/root/forget"} {
		if r := g.try("guest", "cat", name); r.Exit == 0 {
			t.Errorf("%s is still there after a reboot", name)
		}
	}
	g.run("guest", "cat", "/etc/passwd")
	if got := g.run("guest", "cat", "/var/lib/keep"); got != "written at run time" {
		t.Errorf("/var/lib/keep = %q after a reboot; want what was written", got)
	}
	if got := g.run("guest", "cat", "/etc/machine-id"); got != id {
		t.Errorf("machine-id = %q after a reboot; want %q", got, id)
	}
}

// TestTenUpdates goes round three versions, from a to b to a, with confirmation
// after each. The first one is an ordinary image, flattened in the guest.
func TestTenUpdates(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	g := d.start()
	g.wantBoot("a", "1.0")
	g.run("abupdate", "mark-good")
	tags := []string{"v1", "v2", "v3"}
	versions := []string{"1.0", "2.0", "3.0"}
	for i := 1; i <= 10; i++ {
		tag, version := tags[i%3], versions[i%3]
		slot := [2]string{"a", "b"}[i%2]
		begin := time.Now()
		if i == 1 {
			g.run("abupdate", "apply", guestRegistry+"/image:"+tag, "--insecure")
		} else {
			g.applyUpdate(tag, "--insecure", "--allow-downgrade")
		}
		applied := time.Since(begin)
		if i == 1 {
			if st := g.status(); st.Slots[slot].State != "pending" || st.Next.String() != slot {
				t.Fatalf("status after apply = %+v; want %s pending and next", st, slot)
			}
		}
		g.reboot()
		g.wantBoot(slot, version)
		// Without confirmation another apply is refused.
		if i == 1 {
			if r := g.try("abupdate", "apply", guestRegistry+"/update:v3", "--insecure"); r.Exit != 6 {
				t.Errorf("apply on an unconfirmed slot exited with %d; want 6\n%s", r.Exit, r.Stderr)
			}
		}
		g.run("abupdate", "mark-good")
		t.Logf("round %d: apply took %.1f s, all %.1f s", i, applied.Seconds(), time.Since(begin).Seconds())
	}
	st := g.status()
	if st.Slots["a"].State != "good" || st.Slots["b"].State != "good" || st.Fallback != nil || st.Rollback == nil {
		t.Errorf("status after ten rounds = %+v; want two good slots, no fallback, a way back", st)
	}
}
