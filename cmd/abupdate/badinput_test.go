package main

import (
	"bytes"
	"encoding/binary"
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
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

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
	pipe := filepath.Join(work, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
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
	must(t, "build", ref("v2"), "-o", over, "--tag", "again", "--min-version", "0.1")
	failed := ut.Disk(t, ref("v1"))
	must(t, "apply", "oci:"+over+":v2", "--disk", failed)
	must(t, "mark-bad", "b", "--disk", failed)
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
		{"help frobnicate", 2, `unknown command "frobnicate"`},
		{"help key frobnicate", 2, `unknown command "frobnicate" (see abupdate key --help)`},
		{"apply --frobnicate", 2, "unknown flag"},
		{"completion tcsh", 2, `unknown command "tcsh"`},
		{"build", 2, "no IMAGE given"},
		{"build a b", 2, "nowhere to build to"},
		{"build a a -o " + work + "/x", 2, "given twice"},
		{"build a b --raw " + work + "/x", 2, "one file cannot hold 2 images"},
		{"build a b --push r.example/os:1", 2, "{version}"},
		{"build a b -o " + work + "/x --tag t", 2, "{version}"},
		{"build a b -o " + work + "/x --version 1", 2, "cannot all have it"},
		{"build " + ref("v1") + " -o " + work + "/x --tag {foo}", 2, "--tag {foo}: {foo} is none of {version}"},
		{"build " + ref("v1") + " -o " + work + "/x --tag {version", 2, "{version is none of"},
		{"build " + ref("v1") + " --push r.example/os:{version}-{flavour}", 2, "{flavour} is none of"},
		{"build a b -o " + work + "/x --tag {version}{foo}", 2, "{foo} is none of"},
		{"build " + ref("v1") + " -o " + work + "/x --version " + strings.Repeat("1", 65), 2, "has 65 bytes; a device's boot state has room for 64"},
		{"apply " + ref("v2") + " --version " + strings.Repeat("1", 65) + " --disk " + disk, 6, "has 65 bytes; a device's boot state has room for 64"},
		{"build a b -o " + work + "/x --jobs -1", 2, "jobs"},
		{"build " + ref("v1"), 2, "nowhere to build to"},
		{"build " + ref("v1") + " -o " + work + "/x --level 99", 2, "level"},
		{"build " + ref("v1") + " -o " + work + "/x --level slow", 2, "fast, default, best"},
		{"build " + ref("v1") + " -o " + work + "/x --compression lzma", 2, "lzma"},
		{"build " + ref("v1") + " -o " + work + "/x --block-size 3K", 2, "block size"},
		{"build " + ref("v1") + " -o " + work + "/x --platform linux", 2, "linux"},
		{"build " + ref("v1") + " -o " + work + "/x --compression none --level 5", 2, "none has no levels"},
		{"build " + ref("v1") + " --raw " + work, 2, "it is a directory"},
		{"build " + ref("v1") + " -o " + text, 2, "it is not a directory"},
		{"build " + ref("v1") + " --raw " + work + "/no/x", 2, work + "/no"},
		{"build " + ref("v1") + " --raw /dev/full/x", 2, "/dev/full"},
		{"build " + ref("v1") + " -o " + work + "/x --temp " + text, 2, "text.tar"},
		{"build " + ref("v1") + " -o " + work + "/x --workers many", 2, "flag: not a whole number"},
		{"build " + ref("v1") + " -o " + work + "/x --workers -1", 2, "--workers is -1"},
		{"build " + ref("v1") + " -o " + work + "/x --workers 9223372036854775807", 2, "--workers is 9223372036854775807"},
		{"image " + ref("v1"), 2, "abupdate: image: no -o DISK given"},
		{"initramfs " + ref("v1") + " -o " + work, 2, "it is a directory"},
		{"initramfs " + ref("v1") + " -o " + work + "/x --uki " + work + "//x", 2, "both"},
		{"key generate -o " + work + "/no/k", 2, "writing a key file"},
		{"key endorse " + text, 2, "abupdate: key endorse: one --sign-key"},
		{"apply " + ref("v1") + " --disk " + disk + " --full --no-full", 2, "exclude each other"},
		{"apply " + ref("v1") + " --disk " + disk + " --in-flight -1", 2, "--in-flight is -1"},
		{"apply " + ref("v1") + " --disk " + disk + " --max-ranges -1", 2, "--max-ranges is -1"},
		{"status --disk " + disk + " --trust " + work + "/no.pub", 2, "no.pub"},
		{"verify --disk " + disk + " --trust " + text, 2, "text.tar"},
		{"image " + ref("v1") + " -o " + work + "/d --size 12Q", 2, "12Q"},
		{"image " + ref("v1") + " -o " + work + "/no/such/dir/d", 2, "no/such/dir"},
		{"install " + ref("v1"), 2, "no --to DEVICE given"},
		{"install " + ref("v1") + " --to " + zeros, 2, "add --yes"},
		{"apply " + ref("v2") + " --disk " + disk + " --reboot", 2, "--reboot"},
		{"mark-bad c --disk " + disk, 2, `slot "c"`},
		{"verify none --disk " + disk, 2, `slot "none"`},
		{"factory-reset --disk " + disk, 2, "add --yes"},
		{"factory-reset --yes --disk=", 2, "--disk"}, // $DISK, which is not set: not the disk that runs
		{"status --disk=", 2, "--disk"},
		{"lint " + ref("v1") + " --disk=", 2, "--disk"},
		{"apply " + ref("v2") + " --disk " + disk + " --config " + text, 2, "not a directory"},
		{"etc diff --dir " + text, 2, "not a directory"},
		{"man " + text, 2, "not a directory"},
		{"demo --bin " + work, 2, "run make build"},
		{"apply " + ref("v2"), 2, "not booted by abupdate"},
		{"status", 2, "--disk"},
		{"lint", 2, "no IMAGE given"},
		{"lint " + ref("v1") + " --list", 2, "unexpected argument"},
		{"lint " + ref("v1") + " --ignore no-kernel,no-such-rule", 2, `no rule is called "no-such-rule"`},
		{"lint " + ref("v1") + " --slot-size 1G --disk " + disk, 2, "exclude each other"},
		{"lint " + ref("v1") + " --exact", 2, "--exact needs"},
		{"lint " + ref("v1") + " --disk " + zeros, 2, "zeros.img"},
		{"lint oci:" + over + ":v2", 2, "update already"},
		{"docs none", 2, `no page "none"`},
		// no such image
		{"apply oci:/nonexistent:v1 --disk " + disk, 2, "/nonexistent"},
		{"apply " + ref("v9") + " --disk " + disk, 2, "v9"},
		{"build oci-archive:/nonexistent.tar -o " + work + "/x", 2, "/nonexistent.tar"},
		{"build oci-archive:" + pipe + " -o " + work + "/x", 2, "is not a file"},
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
		{"apply oci:" + cut + ":v2 --check-first --disk " + disk, 4, "sha256"},
		{"apply oci:" + cut + ":v2 --disk " + ut.Disk(t, ref("v1")), 4, "sha256"},
		{"apply oci:" + flipped + ":v2 --disk " + ut.Disk(t, ref("v1")), 4, "block"},
		// larger than wanted
		{"build " + ref("v2") + " -o " + work + "/x --limit 4K", 6, "more than 4096 bytes"},
		{"apply " + ref("v2") + " --check-first --disk " + disk + " --limit 4K", 6, "more than 4096 bytes"},
		// for something else
		{"apply " + ref("arm64") + " --disk " + disk, 6, "arm64"},
		{"apply " + ref("nokernel") + " --check-first --disk " + disk, 2, "no kernel in the image"},
		{"apply " + ref("nokernel") + " --dry-run --disk " + disk, 2, "no kernel in the image"},
		{"apply " + ref("nokernel") + " --disk " + ut.Disk(t, ref("v1")), 2, "no kernel in the image; slot b is empty now"},
		{"build " + ref("nokernel") + " -o " + work + "/x", 2, "no kernel in the image"},
		{"apply " + ref("v0") + " --disk " + disk, 6, "lower than the running 1.0"},
		{"apply " + ref("low") + " --check-first --disk " + disk, 6, "lower than the running 1.0"},
		{"apply " + ref("low") + " --disk " + ut.Disk(t, ref("v1")), 6, "lower than the running 1.0 (--allow-downgrade takes it); slot b is empty now"},
		{"apply " + ref("v1") + " --disk " + disk, 77, "nothing to do"},
		{"apply " + ref("v2") + " --disk " + denied, 6, "failed on this device before"},
		{"apply oci:" + over + ":v2 --disk " + denied, 6, "failed on this device before"},    // made of it
		{"apply oci:" + over + ":again --disk " + failed, 6, "failed on this device before"}, // the same system
		{"apply " + ref("v2") + " --disk " + failed, 6, "failed on this device before"},
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

// fakeRegistry answers every request with the given status.
func fakeRegistry(t *testing.T, status int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
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
	sec, err := ut.OpenDisk(t, path).State()
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
