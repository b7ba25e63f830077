package faulttest_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	fs "github.com/abupdate/abupdate/internal/faultserver"
	"github.com/abupdate/abupdate/updater"
)

// TestCredentials asks a registry that wants some.
func TestCredentials(t *testing.T) {
	login := func(t *testing.T, d *device) {
		t.Helper()
		auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
		b := fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, d.host, auth)
		if err := os.MkdirAll(filepath.Join(d.home, ".docker"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(d.home, ".docker", "config.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("401, then a token", func(t *testing.T) {
		d := newDevice(t, "")
		d.WantToken("", "")
		d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
	})
	t.Run("401, then a token for a password", func(t *testing.T) {
		d := newDevice(t, "")
		d.WantToken("me", "secret")
		login(t, d)
		d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
	})
	t.Run("no password", func(t *testing.T) {
		d := newDevice(t, "")
		d.WantToken("me", "secret")
		d.checkFailed(t, d.apply(t, d.ref("v2")), 3, "wants other credentials")
		login(t, d)
		d.checkFinishes(t, "2.0", d.ref("v2"))
	})
	t.Run("a token that ends in the middle", func(t *testing.T) {
		d := newDevice(t, "")
		d.WantToken("me", "secret")
		login(t, d)
		d.Set(fs.On(fs.HookSent(1_000_000, d.ExpireTokens), fs.Data), fs.On(fs.Cut(400_000), fs.Data))
		d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
		if n := d.Total(fs.Token).Requests; n < 2 {
			t.Errorf("%d tokens were asked for; want another after the first", n)
		}
	})
	t.Run("redirect to another host gets none", func(t *testing.T) {
		d := newDevice(t, "")
		d.WantToken("me", "secret")
		login(t, d)
		other := fs.New(shared.updates)
		// Another port is another host, but localhost is one by any rule.
		host := strings.Replace(other.Start(t), "127.0.0.1", "localhost", 1)
		d.Set(fs.On(fs.Redirect("http://"+host+"/cdn"), fs.Data, fs.Tree))
		d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
		if other.Total(fs.Data).Bytes == 0 || other.Total(fs.Tree).Bytes == 0 || d.Total(fs.Layer).Bytes != 0 {
			t.Errorf("the other host sent %+v; want data and tree", other.Total())
		}
		for _, r := range other.Log() {
			if r.Credentials {
				t.Errorf("%s %s carried credentials", r.Method, r.Path)
			}
		}
	})
	t.Run("redirect in a circle", func(t *testing.T) {
		d := newDevice(t, "")
		d.Set(fs.On(fs.Redirect("http://"+d.host), fs.Data))
		d.checkFailed(t, d.apply(t, d.ref("v2")), 3, "redirect")
		d.checkFinishes(t, "2.0", d.ref("v2"))
	})
}

// TestOutage loses the registry at 30 % of the data.
func TestOutage(t *testing.T) {
	w := measure(t)
	t.Run("gone for a minute, --retry-for", func(t *testing.T) {
		t.Parallel()
		d := newDevice(t, "")
		o := fs.NewOutage(w.data * 30 / 100)
		d.Set(o.Fault(fs.Data))
		r := d.start(t, nil, "apply", "--disk", d.disk, "--retry-for", "10m", d.ref("v2"))
		<-o.Gone()
		for n := d.Total().Requests; d.Total().Requests < n+8; { // it knocks again and again
			time.Sleep(10 * time.Millisecond)
		}
		o.Return()
		d.checkApplied(t, r.wait(), "2.0")
		if got := d.Total(fs.Data).Bytes; got > w.data {
			t.Errorf("fetched %d bytes of data; without an outage %d", got, w.data)
		}
	})
	t.Run("gone for a minute, made up", func(t *testing.T) {
		t.Parallel()
		d := newDevice(t, "")
		o := fs.NewOutage(w.data * 30 / 100)
		d.Set(o.Fault(fs.Data))
		got, clk := d.applyInside(t, time.Minute, updater.ApplyOptions{Ref: d.ref("v2")})
		d.checkFailed(t, got, 3)
		var waited time.Duration
		for _, s := range clk.slept {
			waited += s
		}
		if waited < time.Minute {
			t.Errorf("gave up after %v; want a minute", waited)
		}
		missing := d.missing(t)
		d.checkFinishes(t, "2.0", d.ref("v2"))
		d.checkResumed(t, w, missing, true)
	})
	t.Run("gone", func(t *testing.T) {
		t.Parallel()
		d := newDevice(t, "")
		d.Set(fs.NewOutage(w.data * 30 / 100).Fault(fs.Data))
		d.checkFailed(t, d.apply(t, d.ref("v2")), 3, "at byte")
		missing := d.missing(t)
		d.checkFinishes(t, "2.0", d.ref("v2"))
		d.checkResumed(t, w, missing, true)
	})
}

// An update that takes the place of another one after an interruption is
// applied as if nothing had been.
func TestTagMoves(t *testing.T) {
	w := measure(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(shared.updates)); err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, dir)
	d.Set(fs.NewOutage(w.data * 60 / 100).Fault(fs.Data))
	d.checkFailed(t, d.apply(t, d.ref("v2")), 3)
	index := filepath.Join(dir, "index.json")
	b, err := os.ReadFile(index)
	if err != nil {
		t.Fatal(err)
	}
	b = []byte(strings.NewReplacer(`"v2"`, `"v4"`, `"v3"`, `"v2"`).Replace(string(b)))
	if err := os.WriteFile(index, b, 0o644); err != nil {
		t.Fatal(err)
	}
	d.checkFinishes(t, "3.0", d.ref("v2"))
}

// What is in flight when the data changes on the server is refused, not mixed.
func TestDataChangesUnderWay(t *testing.T) {
	d := newDevice(t, "")
	other := []byte(strings.Repeat("another squashfs", len(squashfsOf(t, "v2"))/16))
	d.Set(fs.On(fs.After(2, fs.Replace(other)), fs.Data))
	d.checkFailed(t, d.apply(t, d.ref("v2")), 4, "block")
	d.checkFinishes(t, "2.0", d.ref("v2"))
}
