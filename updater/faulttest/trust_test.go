package faulttest_test

import (
	"encoding/json"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

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
	read := func(path string) []byte {
		b, err := os.ReadFile(filepath.Join(signed.dir, path))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(read("index.json"), &index); err != nil {
		t.Fatal(err)
	}
	byTag := make(map[string]v1.Hash)
	for _, d := range index.Manifests {
		byTag[d.Annotations["org.opencontainers.image.ref.name"]] = d.Digest
	}
	h, ok := byTag["sha256-"+byTag[tag].Hex+".sig"]
	if !ok {
		t.Fatalf("update %s is not signed", tag)
	}
	return read("blobs/sha256/" + h.Hex)
}

// TestTrust applies updates to a device that has a key.
func TestTrust(t *testing.T) {
	signUpdates(t)
	for _, tt := range []struct {
		name   string
		dir    string // "" is the signed updates
		tag    string // "" is v2
		key    string // "" is the vendor's
		faults []fs.Fault
		code   int
		says   []string
	}{
		{name: "signed"},
		{name: "unsigned", dir: shared.updates, code: 4, says: []string{"unsigned"}},
		{name: "wrong key", key: signed.other, code: 4, says: []string{"signature"}},
		{name: "signature hidden", faults: []fs.Fault{fs.On(fs.Status(404), fs.SigManifest)}, code: 4, says: []string{"unsigned"}},
		{name: "signature out of reach", faults: []fs.Fault{fs.On(fs.Status(503), fs.SigManifest)}, code: 3, says: []string{"FAULT"}},
		{name: "flipped byte in the signature", faults: []fs.Fault{fs.On(fs.FlipAfter(`cosign/signature":"ME`), fs.SigManifest)}, code: 4, says: []string{"signature"}},
		{name: "flipped byte in what was signed", faults: []fs.Fault{fs.On(fs.Flip(100), fs.Signature)}, code: 4, says: []string{"digest"}},
		{name: "signature of another update", faults: []fs.Fault{fs.On(fs.Replace(signature(t, "v0")), fs.SigManifest)}, code: 4, says: []string{"has signed [sha256:"}},
		{name: "flipped byte in the signed manifest", faults: []fs.Fault{fs.On(fs.FlipAfter(`image.title":"`), fs.Manifest)}, code: 4, says: []string{"unsigned"}},
		{name: "older signed version replayed", tag: "v0", code: 6, says: []string{"version 0.9 is lower than"}},
		{name: "signed version below the floor replayed", tag: "v15", code: 6, says: []string{"1.5", "1.8"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.dir == "" {
				tt.dir = signed.dir
			}
			d := newDevice(t, tt.dir)
			// What ran here once; a rollback went below it.
			ut.EditState(t, d.disk, func(s bootctl.State) bootctl.State { s.Floor = "1.8"; return s })
			d.Set(tt.faults...)
			if tt.key == "" {
				tt.key = signed.vendor
			}
			if tt.tag == "" {
				tt.tag = "v2"
			}
			got := d.apply(t, "--trust", tt.key+".pub", d.ref(tt.tag))
			t.Logf("exit code %d: %s", got.code, got.message())
			if tt.code == 0 {
				d.checkApplied(t, got, "2.0")
				return
			}
			d.checkFailed(t, got, tt.code, tt.says...)
			if n := d.Total(fs.Tree, fs.Data).Requests; n > 0 {
				t.Errorf("%d requests for tree and data before the signature was found wrong", n)
			}
			good := fs.New(signed.dir)
			d.checkFinishes(t, "2.0", "--trust", signed.vendor+".pub", good.Start(t)+"/os:v2")
		})
	}
	t.Run("no key", func(t *testing.T) {
		d := newDevice(t, signed.dir)
		d.checkFailed(t, d.apply(t, "--trust", d.home, d.ref("v2")), 2, d.home)
		d.checkFinishes(t, "2.0", d.ref("v2")) // without --trust nothing is asked for
	})
}
