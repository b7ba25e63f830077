package faulttest_test

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	fs "github.com/abupdate/abupdate/internal/faultserver"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// signed are updates with signatures, and the keys.
var signed struct {
	once          sync.Once
	err           error
	dir           string // layout
	vendor, other string // PREFIX.key and .pub; the first has signed
}

func signUpdates(t *testing.T) {
	t.Helper()
	setUp(t)
	signed.once.Do(func() {
		signed.dir = filepath.Join(shared.dir, "signed")
		signed.vendor, signed.other = filepath.Join(shared.dir, "vendor"), filepath.Join(shared.dir, "other")
		commands := [][]string{{"key", "generate", "-o", signed.vendor}, {"key", "generate", "-o", signed.other}}
		for _, tag := range []string{"v0", "v15", "v2"} {
			commands = append(commands, []string{"build", "oci:" + shared.images + ":" + tag, "-o", signed.dir, "--tag", tag, "--sign-key", signed.vendor + ".key"})
		}
		for _, args := range commands {
			if out, err := osexec.Command(shared.program, args...).CombinedOutput(); err != nil {
				signed.err = fmt.Errorf("abupdate %s: %w: %s", strings.Join(args, " "), err, out)
				return
			}
		}
	})
	if signed.err != nil {
		t.Fatal(signed.err)
	}
}

// signature returns the document that names the signatures of an update.
func signature(t *testing.T, tag string) []byte {
	t.Helper()
	_, hex, _ := strings.Cut(digestIn(t, signed.dir, tag), ":")
	_, sig, _ := strings.Cut(digestIn(t, signed.dir, "sha256-"+hex+".sig"), ":")
	b, err := os.ReadFile(filepath.Join(signed.dir, "blobs", "sha256", sig))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A trustRow is an update for a device that has a key.
type trustRow struct {
	row
	unsigned bool   // the server has no signatures
	wrong    bool   // the device has another key
	tag      string // "" is v2
	faults   func(t *testing.T) []fs.Fault
}

func (r trustRow) with(f ...fs.Fault) trustRow {
	r.faults = func(*testing.T) []fs.Fault { return f }
	return r
}

var trustRows = []trustRow{
	{row: row{"signed", 0, nil}},
	{row: row{"unsigned", 4, []string{"unsigned: no valid signature"}}, unsigned: true},
	{row: row{"wrong key", 4, []string{"no valid signature by any of", "other.pub"}}, wrong: true},
	trustRow{row: row{"signature hidden", 4, []string{"unsigned: no valid signature"}}}.with(fs.On(fs.Status(404), fs.SigManifest)),
	trustRow{row: row{"signature out of reach", 3, []string{"reading the signatures of"}}}.with(fs.On(fs.Status(503), fs.SigManifest)),
	trustRow{row: row{"flipped byte in the signature", 4, []string{"no valid signature by any of", "vendor.pub"}}}.
		with(fs.On(fs.FlipAfter(`cosign/signature":"ME`), fs.SigManifest)),
	trustRow{row: row{"flipped byte in what was signed", 4, []string{"reading the signatures of", "its content has digest"}}}.with(fs.On(fs.Flip(100), fs.Signature)),
	{row: row{"signature of another update", 4, []string{"no valid signature", "has signed"}}, faults: func(t *testing.T) []fs.Fault {
		return []fs.Fault{fs.On(fs.Replace(signature(t, "v0")), fs.SigManifest)}
	}},
	trustRow{row: row{"flipped byte in the signed manifest", 4, []string{"unsigned: no valid signature"}}}.with(fs.On(fs.FlipAfter(`image.title":"`), fs.Manifest)),
	{row: row{"older signed version replayed", 6, []string{"version 0.9 is lower than the running 1.0"}}, tag: "v0"},
	{row: row{"signed version below the floor replayed", 6, []string{"version 1.5 is lower than 1.8, which was confirmed on this device before"}}, tag: "v15"},
}

// TestTrust applies updates to a device that has a key.
func TestTrust(t *testing.T) {
	signUpdates(t)
	for _, tt := range trustRows {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.test(t)
		})
	}
	tell(t, trustStories)
}

func (tt trustRow) test(t *testing.T) {
	dir, key, tag := signed.dir, signed.vendor, tt.tag
	if tt.unsigned {
		dir = shared.updates
	}
	if tt.wrong {
		key = signed.other
	}
	if tag == "" {
		tag = "v2"
	}
	d := newDevice(t, dir)
	// What ran here once; a rollback went below it.
	ut.EditState(t, d.disk, func(s bootctl.State) bootctl.State { s.Floor = "1.8"; return s })
	if tt.faults != nil {
		d.Set(tt.faults(t)...)
	}
	got := d.apply(t, "--trust", key+".pub", d.ref(tag))
	t.Logf("exit code %d: %s", got.code, got.message())
	if tt.code == 0 {
		d.checkApplied(t, got, "2.0")
		return
	}
	d.checkFailed(t, got, tt.code, tt.says...)
	if n := d.Total(fs.Tree, fs.Data).Requests; n > 0 {
		t.Errorf("%d requests for tree and data before the signature was found wrong", n)
	}
	good := fs.New(signed.dir).Start(t)
	d.checkFinishes(t, "2.0", "--trust", signed.vendor+".pub", good+"/os:v2")
}

var trustStories = []story{
	{row{"no key in the folder", 2, []string{"reading trusted keys", "no public key"}}, func(t *testing.T, r row) {
		d := newDevice(t, signed.dir)
		d.checkFailed(t, d.apply(t, "--trust", d.home, d.ref("v2")), r.code, append(r.says, d.home)...)
		d.checkFinishes(t, "2.0", d.ref("v2"))
	}},
	{row{"no key at all", 0, nil}, func(t *testing.T, _ row) {
		d := newDevice(t, signed.dir)
		d.Set(fs.On(fs.FlipAfter(`cosign/signature":"ME`), fs.SigManifest))
		d.checkApplied(t, d.apply(t, d.ref("v2")), "2.0")
	}},
}
