package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// abupdate runs a command line like main does.
func abupdate(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = runContext(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

// must runs a command line that has to succeed and returns its stdout.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := abupdate(t, args...)
	if code != 0 {
		t.Fatalf("abupdate %s = %d: %s", strings.Join(args, " "), code, errs)
	}
	return out
}

func testImages(t *testing.T) string {
	return ut.Layout(t, map[string]ut.Image{
		"v1":       {Version: "1.0", Noise: 100_000},
		"v2":       {Version: "2.0", Noise: 200_000},
		"v0":       {Version: "0.5"},
		"huge":     {Version: "2.0", Noise: 10 << 20},
		"over":     {Version: "2.0", Noise: int(ut.SlotSize) + 1},
		"arm64":    {Version: "2.0", Arch: "arm64"},
		"nokernel": {Version: "2.0", Kernel: ut.NoKernel},
	})
}

// fakeRegistry answers every request with the given status.
func fakeRegistry(t *testing.T, status int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

// Bad input ends with the right exit code and one line that says what and
// where, prints nothing else, and changes nothing on the disk.
func TestBadInput(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	ref := func(tag string) string { return "oci:" + dir + ":" + tag }
	work := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(work, name)
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	zeros := file("zeros.img", make([]byte, 1<<20))
	text := file("text.tar", []byte("this is no tar archive\n"))
	cut := cutLayout(t, dir)
	over := filepath.Join(work, "updates")
	must(t, "build", ref("over"), "-o", over, "--tag", "over")
	must(t, "build", ref("v2"), "-o", over, "--tag", "v2")
	flipped := flipUpdate(t, over)
	busy := ut.Disk(t, ref("v1"))
	held, err := blockdev.Open(busy, blockdev.Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	denied := ut.Disk(t, ref("v1"))
	must(t, "apply", ref("v2"), "--disk", denied)
	must(t, "mark-bad", "b", "--disk", denied)
	newer := newerState(t, ref("v1"))
	none := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer none.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()

	for _, tt := range []struct {
		args string // split at spaces
		code int
		says string
	}{
		// called wrongly
		{"frobnicate", 2, `unknown command "frobnicate"`},
		{"--frobnicate", 2, "unknown flag: --frobnicate"},
		{"apply --frobnicate", 2, "unknown flag"},
		{"build", 2, "no IMAGE given"},
		{"build a b", 2, `unexpected argument "b"`},
		{"build " + ref("v1"), 2, "nowhere to build to"},
		{"build " + ref("v1") + " -o " + work + "/x --level 99", 2, "level"},
		{"build " + ref("v1") + " -o " + work + "/x --compression lzma", 2, "lzma"},
		{"build " + ref("v1") + " -o " + work + "/x --block-size 3K", 2, "block size"},
		{"build " + ref("v1") + " -o " + work + "/x --platform linux", 2, "linux"},
		{"image " + ref("v1"), 2, "no -o DISK given"},
		{"image " + ref("v1") + " -o " + work + "/d --size 12Q", 2, "12Q"},
		{"image " + ref("v1") + " -o " + work + "/no/such/dir/d", 2, "no/such/dir"},
		{"install " + ref("v1"), 2, "no --to DEVICE given"},
		{"install " + ref("v1") + " --to " + zeros, 2, "add --yes"},
		{"apply " + ref("v2") + " --disk " + disk + " --reboot", 2, "--reboot"},
		{"mark-bad c --disk " + disk, 2, `slot "c"`},
		{"verify none --disk " + disk, 2, `slot "none"`},
		{"factory-reset --disk " + disk, 2, "add --yes"},
		{"apply " + ref("v2"), 2, "not booted by abupdate"},
		{"status", 2, "--disk"},
		// no such image
		{"apply oci:/nonexistent:v1 --disk " + disk, 2, "/nonexistent"},
		{"apply " + ref("v9") + " --disk " + disk, 2, "v9"},
		{"build oci-archive:/nonexistent.tar -o " + work + "/x", 2, "/nonexistent.tar"},
		{"apply 127.0.0.1:" + port(none.URL) + "/os:1 --disk " + disk, 2, "no such image in the registry"},
		// no network
		{"apply 127.0.0.1:" + port(gone.URL) + "/os:1 --disk " + disk, 3, "127.0.0.1"},
		{"apply " + fakeRegistry(t, 500) + "/os:1 --disk " + disk, 3, "/os:1"},
		{"apply " + fakeRegistry(t, 401) + "/os:1 --disk " + disk, 3, "/os:1"},
		// not an image
		{"apply oci-archive:" + text + " --disk " + disk, 4, "text.tar"},
		{"apply oci:" + work + " --disk " + disk, 2, "not an OCI image layout"},
		{"build oci:" + over + ":v2 -o " + work + "/x", 2, "update already"},
		// not what it says
		{"apply oci:" + cut + ":v2 --disk " + disk, 4, "sha256"},
		{"apply oci:" + flipped + ":v2 --disk " + ut.Disk(t, ref("v1")), 4, "block"},
		// for something else
		{"apply " + ref("arm64") + " --disk " + disk, 6, "arm64"},
		{"apply " + ref("nokernel") + " --disk " + disk, 2, "no kernel in the image"},
		{"build " + ref("nokernel") + " -o " + work + "/x", 2, "no kernel in the image"},
		{"apply " + ref("v0") + " --disk " + disk, 6, "lower than the running 1.0"},
		{"apply " + ref("v1") + " --disk " + disk, 77, "nothing to do"},
		{"apply " + ref("v2") + " --disk " + denied, 6, "failed on this device before"},
		// too large
		{"apply oci:" + over + ":over --disk " + disk, 5, "slot b holds"},
		{"apply " + ref("huge") + " --disk " + disk, 5, "cannot fit"},
		// no abupdate disk
		{"status --disk " + zeros, 2, "no abupdate layout"},
		{"apply " + ref("v2") + " --disk " + zeros, 2, "no abupdate layout"},
		{"status --disk /nonexistent", 2, "/nonexistent"},
		{"status --disk " + work, 2, "neither a block device nor a file"},
		{"inspect b --disk " + disk, 2, "the slot is empty"},
		{"inspect recovery --disk " + disk, 2, "no partition recovery"},
		{"verify b --disk " + disk, 4, "slot b is empty"},
		{"inspect " + zeros, 2, "empty"},
		// in use, or not ours
		{"apply " + ref("v2") + " --disk " + busy, 8, "in use"},
		{"mark-good --disk " + busy, 8, "in use"},
		{"mark-good --disk " + newer, 1, "newer version"},
		// nothing there
		{"rollback --disk " + disk, 6, "nothing to roll back to"},
		{"mark-bad a --disk " + disk, 6, "only good one"},
		// disk full
		{"build " + ref("v1") + " --raw /dev/full/x", 1, "/dev/full"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			before := written(t, disk)
			code, out, errs := abupdate(t, strings.Fields(tt.args)...)
			if code != tt.code || !strings.Contains(errs, tt.says) {
				t.Errorf("exit code %d, stderr %q; want %d and %q", code, errs, tt.code, tt.says)
			}
			if strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "abupdate: ") || strings.Contains(errs, "failed to") {
				t.Errorf("stderr is %q; want one line that begins with \"abupdate: \"", errs)
			}
			if out != "" && !strings.HasPrefix(tt.args, "verify") {
				t.Errorf("stdout is %q; want nothing", out)
			}
			if !written(t, disk).Equal(before) {
				t.Error("the disk was written to")
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(work, ".abupdate*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := os.Stat(filepath.Join(work, "x")); err == nil {
		t.Error("a build that failed left its output")
	}
}

// A command that may be interrupted exits with 130.
func TestInterrupted(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{
		{"apply", "oci:" + dir + ":v2", "--disk", disk},
		{"build", "oci:" + dir + ":v2", "--raw", filepath.Join(t.TempDir(), "x")},
	} {
		var out, errs bytes.Buffer
		if code := runContext(ctx, args, &out, &errs); code != 130 || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, stderr %q; want 130 and one line", args[0], code, errs.String())
		}
	}
	if code, _, errs := abupdate(t, "verify", "a", "--disk", disk); code != 0 {
		t.Errorf("verify afterwards = %d: %s", code, errs)
	}
}

func TestJSON(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	raw := filepath.Join(t.TempDir(), "slot.img")
	manifestKeys := []string{
		"root_hash", "salt", "data_blocks", "hash_offset", "image_bytes", "version", "architecture", "kernel", "source_digest",
	}
	built := object(t, must(t, "build", "oci:"+dir+":v2", "--raw", raw, "--json"), manifestKeys...)
	for _, args := range [][]string{{"inspect", raw, "--json"}, {"inspect", "oci:" + dir + ":v2", "--json"}, {"inspect", "a", "--disk", disk, "--json"}} {
		object(t, must(t, args...), manifestKeys...)
	}
	if got := object(t, must(t, "inspect", raw, "--json")); got["root_hash"] != built["root_hash"] {
		t.Errorf("inspect says root hash %v, build %v", got["root_hash"], built["root_hash"])
	}
	applied := object(t, must(t, "apply", "oci:"+dir+":v2", "--disk", disk, "--json"), "slot", "version", "digest", "root_hash")
	if applied["slot"] != "b" || applied["root_hash"] != built["root_hash"] {
		t.Errorf("apply says %v; want slot b and root hash %v", applied, built["root_hash"])
	}
	status := object(t, must(t, "status", "--disk", disk, "--json"), "booted", "next", "fallback", "pending", "rollback", "slots")
	if status["booted"] != nil || status["next"] != "b" || status["fallback"] != nil || status["pending"] != "b" || status["rollback"] != "a" {
		t.Errorf("status says %v", status)
	}
	slots := status["slots"].(map[string]any)
	for name, state := range map[string]string{"a": "good", "b": "pending"} {
		slot := slots[name].(map[string]any)
		for _, key := range []string{"state", "version", "digest", "root_hash", "tries_left", "order"} {
			if _, ok := slot[key]; !ok {
				t.Errorf("slot %s of status has no key %q", name, key)
			}
		}
		if slot["state"] != state {
			t.Errorf("slot %s is %v; want %s", name, slot["state"], state)
		}
	}
	verified := object(t, must(t, "verify", "--disk", disk, "--json"), "slots")
	if n := len(verified["slots"].([]any)); n != 2 {
		t.Errorf("verify tells of %d slots; want 2", n)
	}
	_, _, errs := abupdate(t, "verify", "--disk", disk, "--json")
	for line := range strings.Lines(errs) {
		object(t, line, "step", "done")
	}
	if errs == "" {
		t.Error("no progress on stderr")
	}
}

// A fallback is told by the exit code, and only when that is asked for.
func TestStatusExitCode(t *testing.T) {
	disk := ut.Disk(t, "oci:"+testImages(t)+":v1")
	ut.EditState(t, disk, func(s bootctl.State) bootctl.State { s.Fallback = "b gave up"; return s })
	if code, out, _ := abupdate(t, "status", "--disk", disk); code != 0 || !strings.Contains(out, "b gave up") {
		t.Errorf("status = %d: %q; want 0 and the reason", code, out)
	}
	if code, _, errs := abupdate(t, "status", "--disk", disk, "--exit-code"); code != 10 || errs != "" {
		t.Errorf("status --exit-code = %d, stderr %q; want 10 and nothing", code, errs)
	}
}

// A whole life on a disk image file.
func TestOrders(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	boot := func() { ut.EditState(t, disk, func(s bootctl.State) bootctl.State { _, s = s.Next(); return s }) }
	next := func() any { return object(t, must(t, "status", "--disk", disk, "--json"))["next"] }
	boot()
	must(t, "mark-good", "--disk", disk)
	must(t, "apply", "oci:"+dir+":v2", "--disk", disk)
	boot()
	must(t, "mark-good", "--disk", disk)
	if got := must(t, "mark-good", "--disk", disk); !strings.Contains(got, "good before") {
		t.Errorf("mark-good again says %q", got)
	}
	must(t, "rollback", "--disk", disk)
	if next() != "a" {
		t.Errorf("after rollback %v boots next; want a", next())
	}
	must(t, "rollback", "--disk", disk)
	if next() != "b" {
		t.Errorf("after a second rollback %v boots next; want b", next())
	}
	must(t, "mark-bad", "b", "--reason", "test", "--disk", disk)
	if next() != "a" {
		t.Errorf("after mark-bad %v boots next; want a", next())
	}
	must(t, "factory-reset", "--yes", "--disk", disk)
	if code, _, _ := abupdate(t, "factory-reset", "--yes", "--disk", disk); code != 77 {
		t.Errorf("factory-reset again = %d; want 77", code)
	}
	if got := object(t, must(t, "status", "--disk", disk, "--json"))["reset"]; got != "requested" {
		t.Errorf("status says reset %v; want requested", got)
	}
}

func TestPushAndApplyFromARegistry(t *testing.T) {
	dir := testImages(t)
	disk := ut.Disk(t, "oci:"+dir+":v1")
	s := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer s.Close()
	ref := strings.TrimPrefix(s.URL, "http://") + "/os:2"
	built := object(t, must(t, "build", "oci:"+dir+":v2", "--push", ref, "--json"), "digest", "pushed")
	applied := object(t, must(t, "apply", ref, "--disk", disk, "--json"))
	if applied["digest"] != built["digest"] || applied["update"] != true {
		t.Errorf("apply says %v; want the update %v", applied, built["digest"])
	}
}

// docs/cli.md is what the commands say.
func TestDocsAreUpToDate(t *testing.T) {
	want := must(t, "docs")
	got, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/cli.md is out of date: go run ./cmd/abupdate docs > docs/cli.md")
	}
}

func TestManPagesAndCompletions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man")
	must(t, "man", dir)
	for _, name := range []string{"abupdate.8", "abupdate-apply.8", "abupdate-status.8"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Contains(b, []byte(".SH SYNOPSIS")) {
			t.Errorf("%s: %v, %d bytes; want a man page", name, err, len(b))
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out := must(t, "completion", shell); !strings.Contains(out, "abupdate") {
			t.Errorf("completion %s prints %q", shell, out)
		}
	}
}

// object decodes one JSON object and makes sure that it has the keys.
func object(t *testing.T, s string, keys ...string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	for _, key := range keys {
		if _, ok := v[key]; !ok {
			t.Errorf("no key %q in %s", key, s)
		}
	}
	return v
}

func copyLayout(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "layout")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// cutLayout is a copy whose layers have lost their last bytes.
func cutLayout(t *testing.T, dir string) string {
	t.Helper()
	to := copyLayout(t, dir)
	paths, _ := filepath.Glob(filepath.Join(to, "blobs", "sha256", "*"))
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if b[0] != '{' { // not a manifest or config
			b[len(b)-10] ^= 1
			if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, b, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// flipUpdate is a copy of the updates in which every squashfs has one wrong
// bit.
func flipUpdate(t *testing.T, dir string) string {
	t.Helper()
	to := copyLayout(t, dir)
	paths, _ := filepath.Glob(filepath.Join(to, "blobs", "sha256", "*"))
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(b, []byte("hsqs")) {
			b[len(b)/2] ^= 1
			if err := errors.Join(os.Chmod(path, 0o644), os.WriteFile(path, b, 0o644)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return to
}

// newerState is a disk whose boot state a later abupdate wrote.
func newerState(t *testing.T, ref string) string {
	t.Helper()
	path := ut.Disk(t, ref)
	dev, err := blockdev.Open(path, blockdev.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	d, err := partitions.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	sec, err := d.State()
	if err != nil {
		t.Fatal(err)
	}
	record := make([]byte, bootctl.RecordSize)
	for _, off := range []int64{0, bootctl.PartitionSize / 2} {
		if _, err := sec.ReadAt(record, off); err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint16(record[8:], bootctl.FormatVersion+1)
		clear(record[24:28])
		binary.LittleEndian.PutUint32(record[24:], crc32.Checksum(record, crc32.MakeTable(crc32.Castagnoli)))
		if _, err := sec.WriteAt(record, off); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func port(url string) string { return url[strings.LastIndexByte(url, ':')+1:] }

// written is when a file was last written to.
func written(t *testing.T, path string) time.Time {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.ModTime()
}
