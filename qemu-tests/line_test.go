package qemutests

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	fs "github.com/abupdate/abupdate/internal/faultserver"
)

// TestLineThatDrops updates a device over a line that breaks every 100 kB and
// is gone in the middle, then over one where the power goes at half.
func TestLineThatDrops(t *testing.T) {
	t.Parallel()
	d := newDevice(t)
	updates, size := t.TempDir(), int64(0)
	for _, tag := range []string{"v2", "v3"} {
		r := hostRun(d.f, "build", d.d.image(tag), "-o", updates, "--tag", tag, "--json")
		var built struct {
			Bytes int64 `json:"image_bytes"`
		}
		if err := json.Unmarshal([]byte(r.Stdout), &built); err != nil || r.Exit != 0 {
			t.Fatalf("build %s = %d, %v: %s", tag, r.Exit, err, r.Stderr)
		}
		size = built.Bytes
	}
	server := fs.New(updates)
	d.cfg.Forward = map[string]string{guestRegistry: server.Start(t)}
	// All of an image: from one version to the next there is little to fetch.
	apply := func(tag string) []string {
		return []string{"abupdate", "apply", guestRegistry + "/os:" + tag, "--insecure", "--full", "--retry-for", "10m", "--json"}
	}
	g := d.start()
	g.wantBoot("a", "1.0")
	g.run("abupdate", "mark-good")

	gone := fs.NewOutage(size / 2)
	server.Set(gone.Fault(fs.Data), fs.On(fs.Cut(100_000), fs.Data, fs.Tree))
	go func() {
		<-gone.Gone()
		for n := server.Total().Requests; server.Total().Requests < n+4 && t.Context().Err() == nil; {
			time.Sleep(10 * time.Millisecond)
		}
		gone.Return()
	}()
	g.run(apply("v2")...)
	sent := server.Total(fs.Data)
	t.Logf("%d bytes of squashfs came in %d pieces", sent.Bytes, sent.Requests)
	if least := int(size / 100_000); sent.Requests < least || sent.Bytes > size*102/100 {
		t.Errorf("%d bytes in %d pieces; want at least %d pieces, and little twice of %d bytes", sent.Bytes, sent.Requests, least, size)
	}
	g.reboot()
	g.wantBoot("b", "2.0")
	g.run("abupdate", "mark-good")

	half, killed := make(chan struct{}), make(chan struct{})
	server.Set(fs.On(fs.HookSent(size/2, func() { close(half); <-killed }), fs.Data))
	if err := g.Begin(apply("v3")...); err != nil {
		t.Fatal(err)
	}
	<-half
	g.Kill()
	close(killed)
	if st := d.status(); st.Slots["b"].State != bootctl.Good || st.Slots["a"].State != bootctl.Writing || st.Fallback != nil {
		t.Errorf("status = %+v; want b good, a being written, no fallback", st)
	}
	g = d.start()
	g.wantBoot("b", "2.0")
	g.run("abupdate", "mark-good")
	server.Set()
	server.Forget()
	g.run(apply("v3")...)
	if n := server.Total(fs.Tree).Bytes; n > 0 {
		t.Errorf("%d bytes of tree were fetched again; it was in the slot before the power went", n)
	}
	g.reboot()
	g.wantBoot("a", "3.0")
}
