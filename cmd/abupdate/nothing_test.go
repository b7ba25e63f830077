package main

import (
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/bootctl"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// countingListener counts all that a server sends, headers too.
type countingListener struct {
	net.Listener
	sent atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{c, l}, nil
}

type countingConn struct {
	net.Conn
	l *countingListener
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.l.sent.Add(int64(n))
	return n, err
}

// A dry run of an update says what the apply then fetches.
func TestDryRunTellsWhatIsFetched(t *testing.T) {
	dir := testImages(t)
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	ref := strings.TrimPrefix(s.URL, "http://") + "/os:2"
	must(t, "build", "oci:"+dir+":v2", "--push", ref)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	fields := []string{"fetched_bytes", "fetched_ranges", "metadata_bytes"}
	dry := object(t, must(t, "apply", ref, "--dry-run", "--disk", disk, "--json"), fields...)
	if text := must(t, "apply", ref, "--dry-run", "--disk", disk); !strings.Contains(text, "would fetch") || !strings.Contains(text, "of metadata") {
		t.Errorf("apply --dry-run says:\n%s", text)
	}
	real := object(t, must(t, "apply", ref, "--disk", disk, "--json"), fields...)
	for _, f := range fields {
		if dry[f] != real[f] {
			t.Errorf("%s: %v in the dry run, %v then", f, dry[f], real[f])
		}
	}
}

// To find that there is nothing to do costs little: an agent asks all day.
func TestNothingToDoFetchesLittle(t *testing.T) {
	const most = 20_000
	dir := testImages(t)
	s := httptest.NewUnstartedServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	count := &countingListener{Listener: s.Listener}
	s.Listener = count
	s.Start()
	defer s.Close()
	ref := strings.TrimPrefix(s.URL, "http://") + "/os:2"
	must(t, "build", "oci:"+dir+":v2", "--push", ref)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	fetched := func(wantCode int, args ...string) int64 {
		before := count.sent.Load()
		code, out, errs := abupdate(t, append([]string{"apply", ref, "--disk", disk}, args...)...)
		if code != wantCode {
			t.Errorf("apply %s = %d: %s%s; want %d", strings.Join(args, " "), code, out, errs, wantCode)
		}
		return count.sent.Load() - before
	}
	if n := fetched(0, "--stage-only"); n < 200_000 {
		t.Fatalf("the first apply fetched %d bytes: the counter counts nothing", n)
	}
	if n := fetched(77, "--stage-only"); n > most {
		t.Errorf("to find that it is held took %d bytes; want at most %d", n, most)
	}
	if n := fetched(0); n > most {
		t.Errorf("to switch to what is held took %d bytes; want at most %d", n, most)
	}
	if n := fetched(77); n > most {
		t.Errorf("to find that it is staged took %d bytes; want at most %d", n, most)
	}
	ut.EditState(t, disk, func(s bootctl.State) bootctl.State {
		c, s := s.Next()
		if s, err := s.Confirm(c.Slot); err == nil && c.Slot == bootctl.SlotB {
			return s
		}
		t.Fatalf("slot %v boots; want b, confirmed", c.Slot)
		return s
	})
	n := fetched(77)
	if n > most {
		t.Errorf("to find that it runs took %d bytes; want at most %d", n, most)
	}
	t.Logf("nothing to do: %d bytes", n)
}
