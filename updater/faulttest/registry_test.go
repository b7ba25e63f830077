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

// TestRegistry has what registries do that takes more than an answer.
func TestRegistry(t *testing.T) { tell(t, registryStories) }

var registryStories = []story{
	{row{"401, then a token", 0, nil}, func(t *testing.T, _ row) {
		d := newDevice(t, "")
		d.WantToken("", "")
		d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
	}},
	{row{"401, then a token for a password", 0, nil}, func(t *testing.T, _ row) {
		d := newDevice(t, "")
		d.WantToken("me", "secret")
		d.login(t)
		d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
	}},
	{row{"401 for want of a password", 3, []string{"the registry wants other credentials"}}, func(t *testing.T, r row) {
		d := newDevice(t, "")
		d.WantToken("me", "secret")
		d.checkFailed(t, d.apply(t, d.ref("v2")), r.code, r.says...)
		d.login(t)
		d.checkFinishes(t, "2.0", d.ref("v2"))
	}},
	{row{"a token that ends in the middle", 0, nil}, expiringToken},
	{row{"redirect to another host", 0, nil}, redirected},
	{row{"redirect in a circle", 3, []string{"more than 10 redirects"}}, func(t *testing.T, r row) {
		d := newDevice(t, "")
		d.Set(fs.On(fs.Redirect("http://"+d.host), fs.Data))
		d.checkFailed(t, d.apply(t, d.ref("v2")), r.code, r.says...)
		d.checkFinishes(t, "2.0", d.ref("v2"))
	}},
	{row{"gone at 30 % of the data", 3, []string{"fetching at byte"}}, gone},
	{row{"gone at 30 % of the data, back after eight tries, --retry-for", 0, nil}, goneAndBack},
	{row{"gone at 30 % of the data for a minute, --retry-for", 0, nil}, goneForAMinute},
	{row{"gone at 30 % of the data for longer than --retry-for", 3, []string{"fetching at byte"}}, goneForLonger},
	{row{"another update under the tag after an interruption", 0, nil}, tagMoves},
	{row{"another squashfs in the middle", 4, []string{"block", "came with hash"}}, dataChanges},
}

// login leaves a password for the server, as docker login does.
func (d *device) login(t *testing.T) {
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

func expiringToken(t *testing.T, _ row) {
	d := newDevice(t, "")
	d.WantToken("me", "secret")
	d.login(t)
	d.Set(fs.On(fs.HookSent(1_000_000, d.ExpireTokens), fs.Data), fs.On(fs.Cut(400_000), fs.Data))
	d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
	if n := d.Total(fs.Token).Requests; n < 2 {
		t.Errorf("%d tokens were asked for; want another after the first", n)
	}
}

func redirected(t *testing.T, _ row) {
	d := newDevice(t, "")
	d.WantToken("me", "secret")
	d.login(t)
	other := fs.New(shared.updates)
	// Another port is another host, but localhost is one by any rule.
	host := strings.Replace(other.Start(t), "127.0.0.1", "localhost", 1)
	d.Set(fs.On(fs.Redirect("http://"+host+"/cdn"), fs.Data, fs.Tree))
	d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
	if other.Total(fs.Data).Bytes == 0 || other.Total(fs.Tree).Bytes == 0 {
		t.Errorf("the other host sent %+v; want data and tree", other.Total())
	}
	for _, r := range other.Log() {
		if r.Credentials {
			t.Errorf("%s %s carried credentials", r.Method, r.Path)
		}
	}
}

func gone(t *testing.T, r row) {
	d, w := newDevice(t, ""), measure(t)
	d.Set(fs.NewOutage(w.data * 30 / 100).Fault(fs.Data))
	d.checkFailed(t, d.apply(t, d.ref("v2")), r.code, r.says...)
	missing := d.missing(t)
	d.checkFinishes(t, "2.0", d.ref("v2"))
	d.checkResumed(t, w, missing, true)
}

func goneAndBack(t *testing.T, _ row) {
	d, w := newDevice(t, ""), measure(t)
	o := fs.NewOutage(w.data * 30 / 100)
	d.Set(o.Fault(fs.Data))
	r := d.start(t, nil, "apply", "--disk", d.disk, "--retry-for", "10m", d.ref("v2"))
	<-o.Gone()
	for n := d.Total().Requests; d.Total().Requests < n+8; {
		time.Sleep(10 * time.Millisecond)
	}
	o.Return()
	d.checkApplied(t, r.wait(), "2.0")
	if got := d.Total(fs.Data).Bytes; got > w.data {
		t.Errorf("fetched %d bytes of data; without an outage %d", got, w.data)
	}
}

// goneForAMinute makes up the minute.
func goneForAMinute(t *testing.T, _ row) {
	d, w := newDevice(t, ""), measure(t)
	o := fs.NewOutage(w.data * 30 / 100)
	d.Set(o.Fault(fs.Data))
	start := time.Unix(1_700_000_000, 0)
	clk := &clock{now: start, turns: func(now time.Time) {
		if now.Sub(start) >= time.Minute {
			o.Return()
		}
	}}
	d.checkApplied(t, d.applyAt(t, clk, 10*time.Minute, updater.ApplyOptions{Ref: d.ref("v2")}), "2.0")
	if waited := clk.total(); waited < time.Minute {
		t.Errorf("waited for %v in all; want a minute", waited)
	}
	if got := d.Total(fs.Data).Bytes; got > w.data {
		t.Errorf("fetched %d bytes of data; without an outage %d", got, w.data)
	}
}

// goneForLonger makes up the time.
func goneForLonger(t *testing.T, r row) {
	d, w := newDevice(t, ""), measure(t)
	d.Set(fs.NewOutage(w.data * 30 / 100).Fault(fs.Data))
	got, clk := d.applyInside(t, time.Minute, updater.ApplyOptions{Ref: d.ref("v2")})
	d.checkFailed(t, got, r.code, r.says...)
	if waited := clk.total(); waited < time.Minute {
		t.Errorf("gave up after %v; want a minute", waited)
	}
	missing := d.missing(t)
	d.checkFinishes(t, "2.0", d.ref("v2"))
	d.checkResumed(t, w, missing, true)
}

// tagMoves has another update take the place of the one that was interrupted.
func tagMoves(t *testing.T, _ row) {
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

// dataChanges replaces the squashfs while it is fetched: no mix comes of it.
func dataChanges(t *testing.T, r row) {
	d := newDevice(t, "")
	other := []byte(strings.Repeat("another squashfs", len(squashfsIn(t, shared.updates, "v2"))/16))
	d.Set(fs.On(fs.After(2, fs.Replace(other)), fs.Data))
	d.checkFailed(t, d.apply(t, d.ref("v2")), r.code, r.says...)
	d.checkFinishes(t, "2.0", d.ref("v2"))
}
