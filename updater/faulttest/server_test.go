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
	row
	faults func() []fs.Fault
	args   []string // of apply
	// inside runs apply in this process, where nothing takes time.
	inside   bool
	retryFor time.Duration // for inside
	// waits is how long an apply must have waited between tries.
	waits time.Duration
	// byDigest asks for the update by its digest, not its tag.
	byDigest bool
}

func serverRows() []serverRow { return slices.Concat(lineRows, answerRows, rangeRows, contentRows) }

// TestServer applies an update from a registry that misbehaves.
func TestServer(t *testing.T) {
	for _, tt := range serverRows() {
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
	if tt.byDigest {
		ref = d.host + "/os@" + digestIn(t, shared.updates, "v2")
	}
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
	{row: row{"no fault", 0, nil}, faults: one()},
	{row: row{"connection cut every 200 kB", 0, nil}, faults: one(fs.On(fs.Cut(200_000), fs.Data, fs.Tree, fs.Config))},
	{row: row{"connection cut before every first byte", 3, []string{"fetching at byte"}}, faults: one(fs.On(fs.Cut(0), fs.Data)), inside: true},
	{row: row{"connection cut in the manifest", 3, []string{"os:v2", "manifests/v2"}}, faults: one(fs.On(fs.Cut(100), fs.Manifest)), inside: true},
	{row: row{"connection closed without an answer, once", 0, nil}, faults: one(fs.On(fs.Times(1, fs.Drop()), fs.Manifest, fs.Data))},
	{row: row{"connection closed without an answer, always", 3, []string{"os:v2"}}, faults: one(fs.Drop()), inside: true},
	{row: row{"stall in the data, once", 0, nil}, faults: one(fs.On(fs.Times(1, fs.Stall(500_000)), fs.Data)), inside: true},
	{row: row{"stall in the data, always", 3, []string{"fetching at byte", "nothing came for"}}, faults: one(fs.On(fs.Stall(0), fs.Data)), inside: true},
	{row: row{"stall in the tree, always", 3, []string{"reading the hash tree", "nothing came for"}}, faults: one(fs.On(fs.Stall(0), fs.Tree)), inside: true},
	{row: row{"silence, once", 0, nil}, faults: one(fs.On(fs.Times(1, fs.Silence()), fs.Manifest, fs.Data)), inside: true},
	{row: row{"silence, always", 3, []string{"os:v2", "timeout"}}, faults: one(fs.Silence()), inside: true},
}

// answerRows are registries that answer something else.
var answerRows = []serverRow{
	{row: row{"429 with Retry-After", 0, nil}, faults: one(fs.On(fs.Times(2, fs.RetryAfter(429, "20")), fs.Manifest)), inside: true, waits: 20 * time.Second},
	{row: row{"503 with Retry-After", 0, nil}, faults: one(fs.On(fs.Times(2, fs.RetryAfter(503, "20")), fs.Data)), inside: true, waits: 20 * time.Second},
	{row: row{"503 with Retry-After, waited for by the command", 0, nil}, faults: one(fs.On(fs.Times(1, fs.RetryAfter(503, "1")), fs.Tree))},
	{row: row{"503 for ever", 3, []string{"the registry answers 503 Service Unavailable"}}, faults: one(fs.On(fs.RetryAfter(503, "1"), fs.Data)), inside: true},
	{row: row{"503 for ever, tried for two hours", 3, []string{"the registry answers 503 Service Unavailable"}}, faults: one(fs.On(fs.Status(503), fs.Data)), inside: true, retryFor: 2 * time.Hour, waits: 30 * time.Second},
	{row: row{"429 for a day", 3, []string{"the registry answers 429 Too Many Requests"}}, faults: one(fs.On(fs.RetryAfter(429, "86400"), fs.Data)), inside: true},
	{row: row{"500", 3, []string{"manifests/v2"}}, faults: one(fs.On(fs.Status(500), fs.Manifest)), inside: true},
	{row: row{"403", 3, []string{"the registry answers 403 Forbidden"}}, faults: one(fs.On(fs.Status(403), fs.Data))},
	{row: row{"no such tag", 2, []string{"no such image in the registry"}}, faults: one(fs.On(fs.Status(404), fs.Manifest))},
	{row: row{"tree missing", 4, []string{"is missing in the registry"}}, faults: one(fs.On(fs.Status(404), fs.Tree))},
	{row: row{"data missing", 4, []string{"is missing in the registry"}}, faults: one(fs.On(fs.Status(404), fs.Data))},
}

// rangeRows are servers that are wrong about ranges.
var rangeRows = []serverRow{
	{row: row{"416 to everything", 3, []string{"416 Requested Range Not Satisfiable"}}, faults: one(fs.On(fs.Status(416), fs.Data))},
	{row: row{"416 to every range", 0, nil}, faults: one(fs.On(fs.Ranged(fs.Status(416)), fs.Data))},
	{row: row{"wrong range", 3, []string{"the server answers bytes"}}, faults: one(fs.On(fs.WrongRange(4096), fs.Data))},
	{row: row{"wrong bytes under the right range", 4, []string{"block", "came with hash"}}, faults: one(fs.On(fs.WrongBytes(4096), fs.Data))},
	{row: row{"200 instead of 206", 0, nil}, faults: one(fs.On(fs.NoRanges(), fs.Data))},
	{row: row{"200 instead of 206, --no-full", 3, []string{"no ranges"}}, faults: one(fs.On(fs.NoRanges(), fs.Data)), args: []string{"--no-full"}},
	{row: row{"truncated body, once", 0, nil}, faults: one(fs.On(fs.Times(1, fs.Truncate(500_000)), fs.Data))},
	{row: row{"truncated body, always", 3, []string{"fetching at byte"}}, faults: one(fs.On(fs.Truncate(0), fs.Data)), inside: true},
	{row: row{"truncated tree", 0, nil}, faults: one(fs.On(fs.Truncate(5000), fs.Tree)), inside: true},
	{row: row{"tree shorter than said", 4, []string{"reading the hash tree", "the server has 45056 bytes of it; want 49152"}}, faults: one(fs.On(fs.Resize(-4096), fs.Tree))},
	{row: row{"tree longer than said", 4, []string{"reading the hash tree", "the server has 53248 bytes of it; want 49152"}}, faults: one(fs.On(fs.Resize(4096), fs.Tree))},
	{row: row{"data shorter than said", 4, []string{"fetching at byte", "the server has 5017600 bytes of it; want 5021696"}}, faults: one(fs.On(fs.Resize(-4096), fs.Data))},
	{row: row{"data longer than said", 4, []string{"fetching at byte", "the server has 5025792 bytes of it; want 5021696"}}, faults: one(fs.On(fs.Resize(4096), fs.Data))},
}

// contentRows are contents that are not what the publisher made.
var contentRows = []serverRow{
	{row: row{"truncated manifest", 4, []string{"os:v2", "manifest", "unexpected end of JSON input"}}, faults: one(fs.On(fs.Truncate(50), fs.Manifest))},
	{row: row{"manifest is not JSON", 4, []string{"os:v2", "manifest", "invalid character"}}, faults: one(fs.On(fs.Replace([]byte("<html>")), fs.Manifest))},
	{row: row{"flipped byte in the manifest", 4, []string{"os:v2"}}, faults: one(fs.On(fs.FlipAfter(`"digest":"sha256:`), fs.Manifest))},
	{row: row{"flipped byte in the manifest, asked for by digest", 4, []string{"os@sha256:", "digest"}}, faults: one(fs.On(fs.Flip(-60), fs.Manifest)), byDigest: true},
	{row: row{"flipped byte in the config", 4, []string{"config", "its content has digest"}}, faults: one(fs.On(fs.Flip(100), fs.Config))},
	{row: row{"config without end", 4, []string{"config", "the server has 100000675 bytes of it; want 675"}}, faults: one(fs.On(fs.Resize(100_000_000), fs.Config))},
	{row: row{"flipped byte in the tree", 4, []string{"reading the hash tree", "its content has digest"}}, faults: one(fs.On(fs.Flip(5000), fs.Tree))},
	{row: row{"flipped byte in the data", 4, []string{"block 634 at byte 2596864 came with hash"}}, faults: one(fs.On(fs.Flip(2_600_000), fs.Data))},
	{row: row{"flipped first byte of the data", 4, []string{"block 0 at byte 0 came with hash"}}, faults: one(fs.On(fs.Flip(0), fs.Data))},
}
