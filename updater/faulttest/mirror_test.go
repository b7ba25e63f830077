package faulttest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	fs "github.com/abupdate/abupdate/internal/faultserver"
)

// A mirrorRow is a mirror that lies, before an original that has the same.
type mirrorRow struct {
	row
	faults   []fs.Fault // of the mirror
	original []fs.Fault
	layout   func() string // that both serve; nil is that of the updates
	ref      func(t *testing.T, d *device) string
	args     func() []string
	later    []fs.Role // what the mirror is not asked for any more
	silent   bool      // nothing is said
}

func pinned(t *testing.T, d *device) string { return d.host + "/os@" + digestIn(t, d.dir, "v2") }

func onTheWeb(_ *testing.T, d *device) string { return "http://" + d.host + "/some/where:v2" }

func trusting() []string { return []string{"--trust", signed.vendor + ".pub"} }

var mirrorRows = []mirrorRow{
	{row: row{"mirror", 0, nil}, silent: true},
	{row: row{"mirror with a flipped byte in the data", 0, nil}, faults: []fs.Fault{fs.On(fs.Flip(2_600_000), fs.Data)}},
	{row: row{"mirror with data of another size", 0, nil}, faults: []fs.Fault{fs.On(fs.Resize(4096), fs.Data)}},
	{row: row{"mirror with a flipped byte in the tree", 0, nil}, faults: []fs.Fault{fs.On(fs.Flip(5000), fs.Tree)}, later: []fs.Role{fs.Data}},
	{row: row{"mirror with a tree of another size", 0, nil}, faults: []fs.Fault{fs.On(fs.Resize(-4096), fs.Tree)}, later: []fs.Role{fs.Data}},
	{row: row{"mirror with a flipped byte in the config", 0, nil}, faults: []fs.Fault{fs.On(fs.Flip(100), fs.Config)}, later: []fs.Role{fs.Tree, fs.Data}},
	{row: row{"mirror with a flipped byte in the manifest, asked for by digest", 0, nil}, faults: []fs.Fault{fs.On(fs.Flip(-60), fs.Manifest)}, ref: pinned, later: []fs.Role{fs.Config, fs.Tree, fs.Data}},
	{row: row{"mirror with a page of its own for the manifest", 0, nil}, faults: []fs.Fault{fs.On(fs.Replace([]byte("<html>")), fs.Manifest)}, later: []fs.Role{fs.Config, fs.Tree, fs.Data}},
	{row: row{"mirror with a flipped byte in what was signed", 0, nil}, faults: []fs.Fault{fs.On(fs.Flip(100), fs.Signature)}, layout: func() string { return signed.dir }, args: trusting, later: []fs.Role{fs.Tree, fs.Data}},
	{row: row{"mirror with a flipped byte in a layer of an image", 0, nil}, faults: []fs.Fault{fs.On(fs.Flip(-1), fs.Layer)}, layout: func() string { return shared.images }},
	{row: row{"mirror with a flipped byte in a layer of an image that is read twice", 0, nil}, faults: []fs.Fault{fs.On(fs.After(2, fs.Flip(-1)), fs.Layer)},
		ref: func(_ *testing.T, d *device) string { return d.ref("twice") }, layout: func() string { return shared.images }},
	{row: row{"mirror of a web server with a flipped byte in the manifest", 0, nil}, faults: []fs.Fault{fs.On(fs.Flip(50), fs.Manifest)}, ref: onTheWeb, later: []fs.Role{fs.Tree, fs.Data}},
	{row: row{"mirror of a web server with a page of its own for index.json", 0, nil}, faults: []fs.Fault{fs.On(fs.Replace([]byte("<html>")), fs.Index)}, ref: onTheWeb, later: []fs.Role{fs.Manifest, fs.Tree, fs.Data}},
	{row: row{"mirror and original with a flipped byte in the data", 4, []string{"came with hash"}},
		faults: []fs.Fault{fs.On(fs.Flip(2_600_000), fs.Data)}, original: []fs.Fault{fs.On(fs.Flip(2_600_000), fs.Data)}},
	{row: row{"mirror and original with a flipped byte in the tree", 4, []string{"reading the hash tree", "its content has digest"}},
		faults: []fs.Fault{fs.On(fs.Flip(5000), fs.Tree)}, original: []fs.Fault{fs.On(fs.Flip(6000), fs.Tree)}},
	{row: row{"mirror and original with a flipped byte in a layer of an image", 4, []string{"its content has digest", "slot b is empty now"}},
		faults: []fs.Fault{fs.On(fs.Flip(-1), fs.Layer)}, original: []fs.Fault{fs.On(fs.Flip(-1), fs.Layer)}, layout: func() string { return shared.images }},
}

// TestMirror applies from a mirror that lies: what it has wrong comes from the
// original, and it is asked for nothing more.
func TestMirror(t *testing.T) {
	signUpdates(t)
	for _, tt := range mirrorRows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t)
		})
	}
}

func (tt mirrorRow) test(t *testing.T) {
	dir := shared.updates
	if tt.layout != nil {
		dir = tt.layout()
	}
	d, mirror := newDevice(t, dir), fs.New(dir)
	d.Set(tt.original...)
	mirror.Set(tt.faults...)
	host := mirror.Start(t)
	args := []string{"--config", d.mirrored(t, host), d.ref("v2")}
	if tt.ref != nil {
		args[2] = tt.ref(t, d)
	}
	if tt.args != nil {
		args = append(args, tt.args()...)
	}
	var mu sync.Mutex
	var notes []string
	got := d.start(t, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(line, "gives wrong bytes, and is not asked any more") {
			notes = append(notes, line)
		}
	}, append([]string{"apply", "--disk", d.disk}, args...)...).wait()
	t.Logf("exit code %d: %s", got.code, got.message())
	if want := map[bool]int{true: 0, false: 1}[tt.silent]; len(notes) != want || want > 0 && !strings.Contains(notes[0], host) {
		t.Errorf("told of %q; want %d about %s", notes, want, host)
	}
	for _, r := range mirror.Log() {
		if slices.Contains(tt.later, r.Role) {
			t.Errorf("the mirror is asked for %s", r.Path)
		}
	}
	if tt.code != 0 {
		d.checkFailed(t, got, tt.code, tt.says...)
		mirror.Set()
		d.checkFinishes(t, "2.0", args...)
		return
	}
	d.checkApplied(t, got, "2.0")
	if n := d.Total(fs.Data, fs.Layer).Bytes; tt.silent && n > 0 {
		t.Errorf("the original sent %d bytes; want them from the mirror", n)
	}
}

// mirrored makes a configuration in which the server has a mirror.
func (d *device) mirrored(t *testing.T, mirror string) (dir string) {
	t.Helper()
	dir = filepath.Join(d.home, "config")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("[registries.%q]\nmirrors = [%q]\n", d.host, "http://"+mirror)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
