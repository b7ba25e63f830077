package faulttest_test

import (
	"slices"
	"testing"
	"time"

	fs "github.com/abupdate/abupdate/internal/faultserver"
	"github.com/abupdate/abupdate/updater"
)

// A serverRow is a way for a server to misbehave.
type serverRow struct {
	name   string
	faults func() []fs.Fault
	args   []string // of apply
	code   int
	says   []string
	// inside runs apply in this process, where nothing takes time.
	inside   bool
	retryFor time.Duration // for inside
	// waits is how long an apply must have waited between tries.
	waits time.Duration
}

// TestServer applies an update from a registry that misbehaves.
func TestServer(t *testing.T) {
	for _, tt := range slices.Concat(lineRows, answerRows, rangeRows, contentRows) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t)
		})
	}
}

func (tt serverRow) test(t *testing.T) {
	d := newDevice(t, "")
	d.Set(tt.faults()...)
	ref := d.ref("v2")
	var got result
	if tt.inside {
		var clk *clock
		got, clk = d.applyInside(t, tt.retryFor, updater.ApplyOptions{Ref: ref})
		if tt.waits > 0 && !clk.waited(tt.waits) {
			t.Errorf("waited for %v; want %v once", clk.slept, tt.waits)
		}
	} else {
		got = d.apply(t, append(tt.args, ref)...)
	}
	t.Logf("exit code %d: %s", got.code, got.message())
	if tt.code == 0 {
		d.checkApplied(t, got, "2.0")
		return
	}
	d.checkFailed(t, got, tt.code, tt.says...)
	d.checkFinishes(t, "2.0", ref)
}

func one(f ...fs.Fault) func() []fs.Fault { return func() []fs.Fault { return f } }

// lineRows are faults of the line.
var lineRows = []serverRow{
	{name: "no fault", faults: one()},
	{name: "connection cut every 200 kB", faults: one(fs.On(fs.Cut(200_000), fs.Data, fs.Tree, fs.Config))},
	{name: "connection cut before every first byte", faults: one(fs.On(fs.Cut(0), fs.Data)), inside: true, code: 3, says: []string{"fetching at byte"}},
	{name: "connection cut in the manifest", faults: one(fs.On(fs.Cut(100), fs.Manifest)), inside: true, code: 3, says: []string{"os:v2", "manifests/v2"}},
	{name: "connection closed without an answer, once", faults: one(fs.On(fs.Times(1, fs.Drop()), fs.Manifest, fs.Data))},
	{name: "connection closed without an answer, always", faults: one(fs.Drop()), inside: true, code: 3, says: []string{"os:v2"}},
	{name: "stall in the data, once", faults: one(fs.On(fs.Times(1, fs.Stall(500_000)), fs.Data)), inside: true},
	{name: "stall in the data, always", faults: one(fs.On(fs.Stall(0), fs.Data)), inside: true, code: 3, says: []string{"at byte", "nothing came for"}},
	{name: "stall in the tree, always", faults: one(fs.On(fs.Stall(0), fs.Tree)), inside: true, code: 3, says: []string{"tree", "nothing came for"}},
	{name: "silence, once", faults: one(fs.On(fs.Times(1, fs.Silence()), fs.Manifest, fs.Data)), inside: true},
	{name: "silence, always", faults: one(fs.Silence()), inside: true, code: 3, says: []string{"os:v2", "timeout"}},
}

// answerRows are registries that answer something else.
var answerRows = []serverRow{
	{name: "429 with Retry-After", faults: one(fs.On(fs.Times(2, fs.RetryAfter(429, "20")), fs.Manifest)), inside: true, waits: 20 * time.Second},
	{name: "503 with Retry-After", faults: one(fs.On(fs.Times(2, fs.RetryAfter(503, "20")), fs.Data)), inside: true, waits: 20 * time.Second},
	{name: "503 with Retry-After, waited for by the command", faults: one(fs.On(fs.Times(1, fs.RetryAfter(503, "1")), fs.Tree))},
	{name: "503 for ever", faults: one(fs.On(fs.RetryAfter(503, "1"), fs.Data)), inside: true, code: 3, says: []string{"503"}},
	{name: "503 for ever, tried for two hours", faults: one(fs.On(fs.Status(503), fs.Data)), inside: true, retryFor: 2 * time.Hour, waits: 30 * time.Second,
		code: 3, says: []string{"503"}},
	{name: "429 for a day", faults: one(fs.On(fs.RetryAfter(429, "86400"), fs.Data)), inside: true, code: 3, says: []string{"429"}},
	{name: "500", faults: one(fs.On(fs.Status(500), fs.Manifest)), inside: true, code: 3, says: []string{"manifests/v2"}},
	{name: "403", faults: one(fs.On(fs.Status(403), fs.Data)), code: 3, says: []string{"403"}},
	{name: "no such tag", faults: one(fs.On(fs.Status(404), fs.Manifest)), code: 2, says: []string{"no such image"}},
	{name: "tree missing", faults: one(fs.On(fs.Status(404), fs.Tree)), code: 4, says: []string{"missing"}},
	{name: "data missing", faults: one(fs.On(fs.Status(404), fs.Data)), code: 4, says: []string{"missing"}},
}

// rangeRows are servers that are wrong about ranges.
var rangeRows = []serverRow{
	{name: "416", faults: one(fs.On(fs.Status(416), fs.Data)), code: 3, says: []string{"416"}},
	{name: "wrong range", faults: one(fs.On(fs.WrongRange(4096), fs.Data)), code: 3, says: []string{"the server answers bytes"}},
	{name: "wrong bytes under the right range", faults: one(fs.On(fs.WrongBytes(4096), fs.Data)), code: 4, says: []string{"block ", " at byte "}},
	{name: "200 instead of 206", faults: one(fs.On(fs.NoRanges(), fs.Data))},
	{name: "200 instead of 206, --no-full", faults: one(fs.On(fs.NoRanges(), fs.Data)), args: []string{"--no-full"}, code: 3, says: []string{"no ranges"}},
	{name: "truncated body, once", faults: one(fs.On(fs.Times(1, fs.Truncate(500_000)), fs.Data))},
	{name: "truncated body, always", faults: one(fs.On(fs.Truncate(0), fs.Data)), inside: true, code: 3, says: []string{"fetching at byte"}},
	{name: "truncated tree", faults: one(fs.On(fs.Truncate(5000), fs.Tree)), inside: true},
	{name: "tree shorter than said", faults: one(fs.On(fs.Resize(-4096), fs.Tree)), code: 4, says: []string{"tree", "the server has 45056 bytes of it; want 49152"}},
	{name: "tree longer than said", faults: one(fs.On(fs.Resize(4096), fs.Tree)), code: 4, says: []string{"tree", "the server has"}},
	{name: "data shorter than said", faults: one(fs.On(fs.Resize(-4096), fs.Data)), code: 4, says: []string{"the server has"}},
	{name: "data longer than said", faults: one(fs.On(fs.Resize(4096), fs.Data)), code: 4, says: []string{"the server has"}},
}

// contentRows are contents that are not what the publisher made.
var contentRows = []serverRow{
	{name: "truncated manifest", faults: one(fs.On(fs.Truncate(50), fs.Manifest)), code: 4, says: []string{"os:v2", "JSON"}},
	{name: "manifest is not JSON", faults: one(fs.On(fs.Replace([]byte("<html>")), fs.Manifest)), code: 4, says: []string{"os:v2", "manifest"}},
	{name: "flipped byte in the manifest", faults: one(fs.On(fs.Flip(-60), fs.Manifest)), code: 4, says: []string{"os:v2", "manifest"}},
	{name: "flipped byte in the config", faults: one(fs.On(fs.Flip(100), fs.Config)), code: 4, says: []string{"config", "its content has digest"}},
	{name: "config without end", faults: one(fs.On(fs.Resize(100_000_000), fs.Config)), code: 4, says: []string{"config", "the server has"}},
	{name: "flipped byte in the tree", faults: one(fs.On(fs.Flip(5000), fs.Tree)), code: 4, says: []string{"tree", "its content has digest"}},
	{name: "flipped byte in the data", faults: one(fs.On(fs.Flip(2_600_000), fs.Data)), code: 4, says: []string{"block 634 at byte 2596864"}},
	{name: "flipped first byte of the data", faults: one(fs.On(fs.Flip(0), fs.Data)), code: 4, says: []string{"block 0 at byte 0"}},
}
