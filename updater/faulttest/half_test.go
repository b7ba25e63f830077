package faulttest_test

import (
	"os"
	"testing"

	fs "github.com/abupdate/abupdate/internal/faultserver"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// TestHalf kills an apply when half of the bytes have come: the next one
// fetches at most 52 % of them. With 16 MB what was in flight is little of it.
func TestHalf(t *testing.T) {
	setUp(t)
	large, err := makeDisk(t, 24*disk.MiB)
	if err != nil {
		t.Fatal(err)
	}
	images, updates := ut.Layout(t, map[string]ut.Image{"v2": {Version: "2.0", Noise: 16_000_000}}), t.TempDir()
	_, err = updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + images + ":v2", Dir: updates, Tag: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	d := newDeviceOf(t, updates, large)
	d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
	all := d.Total(fs.Data, fs.Tree).Bytes

	d = newDeviceOf(t, updates, large)
	started := make(chan *run, 1)
	d.Set(fs.On(fs.HookSent(all/2, func() {
		r := <-started
		d.settle(t)
		r.signal(t, os.Kill)
		r.wait()
	}), fs.Data, fs.Tree))
	r := d.start(t, nil, "apply", "--disk", d.disk, d.ref("v2"))
	started <- r
	if got := r.wait(); got.code != -1 {
		t.Fatalf("exit code %d, %s; want it killed", got.code, got.message())
	}
	d.checkFinishes(t, "2.0", d.ref("v2"))
	rest := d.Total(fs.Data, fs.Tree).Bytes
	t.Logf("%d bytes without an interruption; %d after one at half: %.1f %%", all, rest, 100*float64(rest)/float64(all))
	if rest*100 > all*52 {
		t.Errorf("fetched %d bytes after half of %d; want at most 52 %%", rest, all)
	}
}
