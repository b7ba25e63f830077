package qemutests

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/vm"
)

// TestForward shows that a guest reaches the one service of the host that it
// was given, over several connections, and that a reset in the middle of an
// answer does not reach the next connection.
func TestForward(t *testing.T) {
	t.Parallel()
	f := fixture(t)
	stuck := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "you asked for %s\n", r.URL.Path)
		if r.URL.Path == "/slow" {
			w.(http.Flusher).Flush()
			<-stuck
			fmt.Fprintln(w, "too late")
		}
	}))
	t.Cleanup(srv.Close)
	g := start(t, vm.Config{
		Kernel: f.kernel.Image, Initrd: guestInitramfs(t, f, "virtio_net"), Append: quick,
		Forward: map[string]string{"10.0.2.100:5000": srv.Listener.Addr().String()},
	})
	g.waitBoot()
	get := func(path string) string {
		return strings.TrimSpace(g.run("/init", "get", "http://10.0.2.100:5000"+path))
	}
	for _, path := range []string{"/one", "/two"} {
		if got, want := get(path), "you asked for "+path; got != want {
			t.Errorf("get %s = %q; want %q", path, got, want)
		}
	}
	if err := g.Begin("/init", "get", "http://10.0.2.100:5000/slow"); err != nil {
		t.Fatal(err)
	}
	if err := g.Reset(deadline(t, bootTime)); err != nil {
		t.Fatal(err)
	}
	g.waitBoot()
	close(stuck)
	if got, want := get("/three"), "you asked for /three"; got != want {
		t.Errorf("get after a reset = %q; want %q", got, want)
	}
}
