package faulttest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	fs "github.com/abupdate/abupdate/internal/faultserver"
)

// A story is a fault that takes more than a row to tell.
type story struct {
	row
	test func(t *testing.T, r row)
}

func tell(t *testing.T, stories []story) {
	for _, tt := range stories {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t, tt.row)
		})
	}
}

// TestDevice has faults of the device that are none of the slot's medium.
func TestDevice(t *testing.T) { tell(t, deviceStories) }

var deviceStories = []story{
	{row{"two applies at once", 8, []string{"in use by another abupdate"}}, twoAtOnce},
	{row{"spool full before it begins", 5, []string{"spooling layers in", "they need", "0 are free"}}, fullSpool},
	{row{"spool fills up under the layer", 5, []string{"no space left on device"}}, fillingSpool},
}

// twoAtOnce runs an apply while another one waits for its server.
func twoAtOnce(t *testing.T, r row) {
	d := newDevice(t, "")
	asked := make(chan struct{})
	d.Set(fs.On(fs.Times(1, fs.HookRequest(func() { close(asked) })), fs.Data), fs.On(fs.Silence(), fs.Data))
	first := d.start(t, nil, "apply", "--disk", d.disk, d.ref("v2"))
	<-asked
	d.checkFailed(t, d.apply(t, d.ref("v2")), r.code, r.says...)
	d.Set()
	d.Release()
	d.checkApplied(t, first.wait(), "2.0")
}

// An ordinary image needs a spool for what its upper layers hide. /proc never
// has room.
func fullSpool(t *testing.T, r row) {
	d := newDevice(t, "")
	ref := fs.New(shared.images).Start(t) + "/os:twice"
	d.checkFailed(t, d.apply(t, "--spool", "/proc", ref), r.code, r.says...)
	d.checkFinishes(t, "2.0", ref)
}

func fillingSpool(t *testing.T, r row) {
	d, spool := newDevice(t, ""), t.TempDir()
	images := fs.New(shared.images)
	ref := images.Start(t) + "/os:twice"
	// Before the layer comes, its file becomes one that is always full.
	images.Set(fs.On(func(r *fs.Request, _ *fs.Answer) {
		dirs, err := filepath.Glob(filepath.Join(spool, "abupdate-spool-*"))
		if err != nil {
			t.Error(err)
		}
		for _, dir := range dirs {
			_ = os.Symlink("/dev/full", filepath.Join(dir, strings.TrimPrefix(r.Digest, "sha256:")))
		}
	}, fs.Layer))
	d.checkFailed(t, d.apply(t, "--spool", spool, ref), r.code, append(r.says, spool)...)
	if left, err := os.ReadDir(spool); err != nil || len(left) != 0 {
		t.Errorf("the spool holds %v, %v; want nothing", left, err)
	}
	d.checkFinishes(t, "2.0", ref)
}
