package updater_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// A counter is a registry that counts what it sends of blobs.
type counter struct {
	http.Handler
	sent atomic.Int64
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
		w = &countingWriter{w, c}
	}
	c.Handler.ServeHTTP(w, r)
}

type countingWriter struct {
	http.ResponseWriter
	c *counter
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.c.sent.Add(int64(len(p)))
	return w.ResponseWriter.Write(p)
}

// served pushes an image to a registry and returns its reference there and
// the compressed size of its layers.
func served(t *testing.T, tag string) (ref string, layers int64, c *counter) {
	t.Helper()
	c = &counter{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	s := httptest.NewServer(c)
	t.Cleanup(s.Close)
	ref = strings.TrimPrefix(s.URL, "http://") + "/os:" + tag
	local, err := oci.ParseReference("oci:" + images(t) + ":" + tag)
	if err != nil {
		t.Fatal(err)
	}
	remote, err := oci.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oci.Push(t.Context(), local, remote, oci.Options{}); err != nil {
		t.Fatal(err)
	}
	img, err := oci.Resolve(t.Context(), remote, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	return ref, img.Size(), c
}

// How often layers are fetched: what is small besides them (configs) does not
// matter.
func TestReads(t *testing.T) {
	ref, layers, c := served(t, "plain")
	path := ut.Disk(t, "oci:"+images(t)+":v1")
	apply := func(opt updater.ApplyOptions) func(t *testing.T) error {
		return func(t *testing.T) error {
			opt.Ref = ref
			sys := open(t, path)
			defer sys.Close()
			_, err := sys.Apply(t.Context(), opt)
			return err
		}
	}
	rollback := func(t *testing.T) {
		sys := open(t, path)
		defer sys.Close()
		if got, err := sys.Rollback(); err != nil || got.Next != bootctl.SlotA {
			t.Fatalf("Rollback() = %+v, %v; want slot a next", got, err)
		}
	}
	for _, tt := range []struct {
		name  string
		do    func(t *testing.T) error
		after func(t *testing.T)
		want  int64 // reads
	}{
		{name: "build", want: 1, do: func(t *testing.T) error {
			_, err := updater.Build(t.Context(), updater.BuildOptions{Ref: ref, Dir: filepath.Join(t.TempDir(), "out")})
			return err
		}},
		{name: "inspect", want: 1, do: func(t *testing.T) error {
			_, err := updater.Look(t.Context(), ref, updater.LookOptions{})
			return err
		}},
		{name: "dry run", want: 1, do: apply(updater.ApplyOptions{DryRun: true})},
		{name: "apply", want: 1, do: apply(updater.ApplyOptions{}), after: rollback},
		{name: "apply what the slot holds", want: 0, do: apply(updater.ApplyOptions{}), after: rollback},
		{name: "check first what the slot holds", want: 0, do: apply(updater.ApplyOptions{CheckFirst: true}), after: rollback},
		{name: "apply under another version", want: 1, do: apply(updater.ApplyOptions{Source: updater.SourceOptions{Version: "3"}}), after: rollback},
		{name: "check first", want: 2, do: apply(updater.ApplyOptions{CheckFirst: true, Source: updater.SourceOptions{Version: "4"}})},
	} {
		c.sent.Store(0)
		if err := tt.do(t); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if sent := c.sent.Load(); sent < tt.want*layers || sent >= tt.want*layers+layers/2 {
			t.Errorf("%s: %d bytes of blobs were sent; the layers have %d: want them %d times", tt.name, sent, layers, tt.want)
		}
		if tt.after != nil {
			tt.after(t)
		}
	}
}
