package recovery_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/recovery/recoverytest"
)

var everything = recovery.Facts{Reason: "no slot boots", Slots: [2]string{"1.0, bad", "2.0, bad"}, Golden: "0.9"}

func TestRecoveryMenuAnswers(t *testing.T) {
	readOnly := everything
	readOnly.ReadOnly = "newer format"
	nothing := everything
	nothing.NoGolden, nothing.NoVar, nothing.NoSlot = "no recovery slot", "no var", [2]string{"empty", "empty"}

	for _, tt := range []struct {
		name  string
		facts recovery.Facts
		keys  string
		want  recovery.Action
	}{
		{"factory reset, confirmed", everything, "1\ryes\r", recovery.Action{Act: recovery.FactoryReset}},
		{"factory reset, not confirmed, then reboot", everything, "1\rno\r5\r", recovery.Action{Act: recovery.DoReboot}},
		{"confirming with Enter alone is not yes", everything, "1\r\r6\r", recovery.Action{Act: recovery.DoPowerOff}},
		{"restore", everything, "2\r", recovery.Action{Act: recovery.RestoreGolden}},
		{"a line that ends with a newline", everything, "2\n", recovery.Action{Act: recovery.RestoreGolden}},
		{"CR LF leaves an empty line, which is asked again", everything, "\r\n3\r\n", recovery.Action{Act: recovery.RetrySlot, Slot: bootctl.SlotA}},
		{"retry b", everything, "4\r", recovery.Action{Act: recovery.RetrySlot, Slot: bootctl.SlotB}},
		{"reboot", everything, "5\r", recovery.Action{Act: recovery.DoReboot}},
		{"power off", everything, "6\r", recovery.Action{Act: recovery.DoPowerOff}},
		{"noise is not an answer", everything, "\x00\xff\x1b[24;80Rhello 22\r7\r0\r12\r6\r", recovery.Action{Act: recovery.DoPowerOff}},
		{"a typing error corrected", everything, "1\x7f5\r", recovery.Action{Act: recovery.DoReboot}},
		{"a line without end is cut, and none of them", everything, strings.Repeat("5", 1000) + "\r6\r", recovery.Action{Act: recovery.DoPowerOff}},
		{"blanks around the number", everything, " 5 \r", recovery.Action{Act: recovery.DoReboot}},
		{"state left alone: a slot boots this time only", readOnly, "3\r", recovery.Action{Act: recovery.BootSlot, Slot: bootctl.SlotA}},
		{"state left alone: no reset, no restore", readOnly, "1\r2\r5\r", recovery.Action{Act: recovery.DoReboot}},
		{"nothing to work with", nothing, "1\r2\r3\r4\r6\r", recovery.Action{Act: recovery.DoPowerOff}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &recoverytest.Console{Keys: tt.keys}
			got := recovery.Ask(c, recovery.RecoveryMenu(tt.facts), 0, func() {})
			if got != tt.want {
				t.Errorf("Ask() = %+v; want %+v; the console showed:\n%s", got, tt.want, c)
			}
		})
	}
}

func TestBootMenuAnswers(t *testing.T) {
	for _, tt := range []struct {
		name, keys string
		want       recovery.Action
	}{
		{"slot a", "1\r", recovery.Action{Act: recovery.BootSlot, Slot: bootctl.SlotA}},
		{"slot b", "2\r", recovery.Action{Act: recovery.BootSlot, Slot: bootctl.SlotB}},
		{"recovery", "3\r", recovery.Action{Act: recovery.OpenRecovery}},
		{"go on", "4\r", recovery.Action{}},
		{"opened by noise, nobody answers", "", recovery.Action{}},
		{"half an answer", "2", recovery.Action{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &recoverytest.Console{Keys: tt.keys}
			if got := recovery.Ask(c, recovery.BootMenu(everything), time.Minute, func() {}); got != tt.want {
				t.Errorf("Ask() = %+v; want %+v", got, tt.want)
			}
			if c.Waited > 2*time.Minute {
				t.Errorf("Ask() waited %v; want at most about a minute", c.Waited)
			}
		})
	}
}

func TestRecoveryMenuShows(t *testing.T) {
	f := everything
	f.NoGolden = "this disk has no partition recovery"
	c := &recoverytest.Console{Keys: "6\r"}
	recovery.Ask(c, recovery.RecoveryMenu(f), 0, func() {})
	want := "\r\nabupdate recovery\r\n" +
		"  reason: no slot boots\r\n" +
		"  1  factory reset: make /var anew, keep the slots\r\n" +
		"  2  restore the golden image into slot a (0.9) -- not now: this disk has no partition recovery\r\n" +
		"  3  retry slot a (1.0, bad)\r\n" +
		"  4  retry slot b (2.0, bad)\r\n" +
		"  5  reboot\r\n" +
		"  6  power off\r\n" +
		"choice [1-6]: 6\r\n"
	if diff := cmp.Diff(want, c.String()); diff != "" {
		t.Errorf("the menu differs (-want +got):\n%s", diff)
	}
}

// While nobody types, the menu waits: it prints nothing and keeps the
// watchdog quiet.
func TestMenuWaitsQuietly(t *testing.T) {
	c := &recoverytest.Console{}
	alive := 0
	defer func() {
		if r := recover(); r != recoverytest.Gone {
			t.Fatalf("recovered %v; want the menu to wait until the test gives up", r)
		}
		if n := strings.Count(c.String(), "abupdate recovery"); n != 1 {
			t.Errorf("the menu was printed %d times in an hour; want once", n)
		}
		if want := int(time.Hour / (5 * time.Second)); alive < want {
			t.Errorf("alive was called %d times in an hour; want at least %d", alive, want)
		}
	}()
	recovery.Ask(c, recovery.RecoveryMenu(everything), 0, func() { alive++ })
}
