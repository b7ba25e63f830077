package updater_test

import (
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
)

// One image that fails does not take anything from the others, and all are what
// they would be alone.
func TestBuildAll(t *testing.T) {
	from := images(t)
	ref := func(tag string) string { return "oci:" + from + ":" + tag }
	var want []string
	for _, tag := range []string{"v1", "v2"} {
		built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: ref(tag), Dir: filepath.Join(t.TempDir(), "out")})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, built.Digest)
	}
	for _, jobs := range []int{0, 1, 2, 8} {
		dir := filepath.Join(t.TempDir(), "out")
		finished := make(map[string]bool)
		events := make(map[string]bool)
		outcomes, took, err := updater.BuildAll(t.Context(), updater.Batch{
			Refs: []string{ref("v1"), ref("nokernel"), ref("v9"), ref("v2")}, Jobs: jobs,
			Options: updater.BuildOptions{Dir: dir, Progress: func(e updater.Event) { events[e.Image] = true }},
			Done:    func(o updater.Outcome) { finished[o.Ref] = o.Err == nil },
		})
		if err != nil || took.Wall <= 0 {
			t.Fatalf("BuildAll() took %v, %v", took, err)
		}
		for i, kind := range []fault.Kind{0, fault.Usage, fault.Usage, 0} {
			o := outcomes[i]
			if fault.KindOf(o.Err) != kind || (o.Built != nil) != (kind == 0) || finished[o.Ref] != (kind == 0) {
				t.Errorf("%d jobs: image %d is %+v; want kind %d", jobs, i, o, kind)
			}
			if o.Err != nil && !strings.Contains(o.Err.Error(), o.Ref) {
				t.Errorf("%d jobs: %v does not name %s", jobs, o.Err, o.Ref)
			}
		}
		if t.Failed() {
			return
		}
		got := []string{outcomes[0].Built.Digest, outcomes[3].Built.Digest}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d jobs: digests (-alone +together):\n%s", jobs, diff)
		}
		for tag, digest := range map[string]string{"1.0": want[0], "2.0": want[1]} {
			in, err := updater.Look(t.Context(), "oci:"+dir+":"+tag, updater.LookOptions{})
			if err != nil || in.Digest != digest {
				t.Errorf("%d jobs: %s is %+v, %v; want %s", jobs, tag, in, err, digest)
			}
		}
		if !events[ref("v1")] || !events[ref("v2")] || events[""] {
			t.Errorf("%d jobs: progress of %v; want each image named", jobs, events)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*")); len(left) > 0 {
			t.Errorf("%d jobs: left behind: %v", jobs, left)
		}
	}
}

// No update takes the place of another of the same run.
func TestBuildAllKeepsOutputsApart(t *testing.T) {
	from := images(t)
	refs := []string{"oci:" + from + ":v2", "oci:" + from + ":nokernel"} // both are version 2.0
	for _, tt := range []struct {
		tag  string
		tags []string // wanted; nil: the second fails
	}{
		{"", nil},
		{"{arch}", nil},
		{"{tag}", []string{"v2", "nokernel"}},
		{"x-{version}-{tag}-{arch}", []string{"x-2.0-v2-amd64", "x-2.0-nokernel-amd64"}},
	} {
		opt := updater.BuildOptions{Dir: filepath.Join(t.TempDir(), "out"), Tag: tt.tag}
		opt.Compose.NoKernel = true
		outcomes, _, err := updater.BuildAll(t.Context(), updater.Batch{Refs: refs, Jobs: 1, Options: opt})
		if err != nil {
			t.Fatal(err)
		}
		if tt.tags == nil {
			if err := outcomes[1].Err; outcomes[0].Err != nil || fault.KindOf(err) != fault.Usage || !strings.Contains(err.Error(), refs[0]) {
				t.Errorf("tag %q: %v, %v; want the second refused, the first named", tt.tag, outcomes[0].Err, err)
			}
			continue
		}
		for i, want := range tt.tags {
			if o := outcomes[i]; o.Err != nil || o.Built.Tag != want {
				t.Errorf("tag %q: %+v; want tag %s", tt.tag, o, want)
			}
		}
	}
}

func TestBuildAllPushes(t *testing.T) {
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	host := strings.TrimPrefix(s.URL, "http://")
	from := images(t)
	work := t.TempDir()
	outcomes, _, err := updater.BuildAll(t.Context(), updater.Batch{
		Refs: []string{"oci:" + from + ":v1", "oci:" + from + ":v2"}, Jobs: 2,
		Options: updater.BuildOptions{Push: host + "/os/update:{tag}", TempDir: work},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, tag := range []string{"v1", "v2"} {
		o := outcomes[i]
		if o.Err != nil || !strings.HasSuffix(o.Built.Pushed, "/os/update:"+tag) {
			t.Errorf("image %d: %+v; want it pushed as %s", i, o, tag)
			continue
		}
		in, err := updater.Look(t.Context(), host+"/os/update:"+tag, updater.LookOptions{})
		if err != nil || in.Digest != o.Built.Digest {
			t.Errorf("the registry has %+v, %v; want digest %s", in, err, o.Built.Digest)
		}
	}
	if left, _ := os.ReadDir(work); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Never more images than jobs are built at the same time, and a cancellation
// ends all.
func TestBuildAllCanceled(t *testing.T) {
	from := images(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls atomic.Int32
	outcomes, _, err := updater.BuildAll(ctx, updater.Batch{
		Refs: []string{"oci:" + from + ":v1", "oci:" + from + ":v2", "oci:" + from + ":v0"}, Jobs: 2,
		Options: updater.BuildOptions{Dir: filepath.Join(t.TempDir(), "out"), Progress: func(e updater.Event) {
			if e.Step == updater.StepWrite && calls.Add(1) == 1 {
				cancel()
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	canceled := 0
	for _, o := range outcomes {
		if fault.KindOf(o.Err) == fault.Canceled {
			canceled++
		}
	}
	if canceled < 2 {
		t.Errorf("%d of the images were canceled: %+v", canceled, outcomes)
	}
}

// What one pass costs is told: a layer that was read twice, bytes that no file
// has.
func TestBuildCountsWhatOnePassCosts(t *testing.T) {
	built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + images(t) + ":twice", Raw: filepath.Join(t.TempDir(), "raw")})
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(len("hidden by a symlinked parent")); built.LayersReadTwice != 1 || built.UnusedBytes != want {
		t.Errorf("%d layers read twice, %d bytes unused; want 1 and %d", built.LayersReadTwice, built.UnusedBytes, want)
	}
}

func TestBuildStats(t *testing.T) {
	built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + images(t) + ":v2", Raw: filepath.Join(t.TempDir(), "raw")})
	if err != nil {
		t.Fatal(err)
	}
	s := built.BuildStats
	if s.Files != 4 || s.FileBytes < 400_000 || s.LayerBytes < 400_000 || s.Ratio <= 0 || s.WallSeconds <= 0 || s.CPUSeconds <= 0 {
		t.Errorf("Build() counts %+v", s)
	}
	if got, want := s.Ratio, float64(built.ImageBytes)/float64(s.FileBytes); got < want-.001 || got > want+.001 {
		t.Errorf("ratio is %v; want %v", got, want)
	}
}
