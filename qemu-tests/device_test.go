package qemutests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/testimage"
	"github.com/abupdate/abupdate/internal/vm"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/updater"
)

// variants are the images that tests update from and to, by tag.
var variants = []testimage.Variant{
	{Tag: "v1", Version: "1.0"},
	{Tag: "v2", Version: "2.0", Files: map[string]string{"/etc/motd": "two\n"}},
	{Tag: "v3", Version: "3.0", Files: map[string]string{"/etc/motd": "three\n"}},
	{Tag: "panics", Version: "2.1", Mode: testimage.Panics},
	{Tag: "exits", Version: "2.2", Mode: testimage.Exits},
	{Tag: "hangs", Version: "2.3", Mode: testimage.Hangs},
	{Tag: "noinit", Version: "2.4", Remove: []string{"/usr/sbin/init"}},
}

// layoutFile holds sizes that suit the tiny image.
const layoutFile = `
esp = "64M"
slot = "64M"
recovery = "64M"
var = "64M"
`

// A depot is what all devices of a test run are made from.
type depot struct {
	dir      string // holds images/, an OCI layout, and updates/
	disk     string // made by abupdate image from v1
	registry string // HOST:PORT on loopback, with repositories image and update
}

var stock = sync.OnceValues(func() (*depot, error) {
	f, err := setup()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "abupdate-qemu-")
	if err != nil {
		return nil, err
	}
	removeAtEnd = dir
	d := &depot{dir: dir, disk: filepath.Join(dir, "disk.img")}
	if err := f.set.WriteLayout(filepath.Join(dir, "images"), variants...); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "layout.toml"), []byte(layoutFile), 0o644); err != nil {
		return nil, err
	}
	d.registry = strings.TrimPrefix(httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)))).URL, "http://")
	for _, args := range [][]string{
		{"image", d.image("v1"), "-o", d.disk, "--layout", filepath.Join(dir, "layout.toml")},
		{"build", d.image("v1"), "--push", d.registry + "/update:v1"},
		{"build", d.image("v2"), "--push", d.registry + "/update:v2"},
		{"build", d.image("v3"), "--push", d.registry + "/update:v3"},
	} {
		if r := hostRun(f, args...); r.Exit != 0 {
			return nil, errors.New(strings.Join(args, " ") + ": " + r.Stderr)
		}
	}
	return d, f.set.Push(d.registry+"/image", variants...)
})

func (d *depot) image(tag string) string { return "oci:" + filepath.Join(d.dir, "images") + ":" + tag }

// guestRegistry is where a guest finds the registry.
const guestRegistry = "10.0.2.100:5000"

// removeAtEnd is the depot's folder.
var removeAtEnd string

func TestMain(m *testing.M) {
	code := m.Run()
	machine.Clean()
	if removeAtEnd != "" {
		os.RemoveAll(removeAtEnd)
	}
	os.Exit(code)
}

// A device is a disk of its own, and how it boots.
type device struct {
	t    *testing.T
	f    *fixtures
	d    *depot
	disk string
	cfg  vm.Config
}

// newDevice copies the disk that abupdate image made from v1.
func newDevice(t *testing.T) *device {
	t.Helper()
	f := fixture(t)
	d, err := stock()
	if err != nil {
		t.Fatal(err)
	}
	dev := &device{t: t, f: f, d: d, disk: filepath.Join(t.TempDir(), "disk.img")}
	copyFile(t, d.disk, dev.disk)
	dev.useSelector()
	return dev
}

// useSelector boots the device with kernel, initramfs and command line out of
// the UKI on its ESP.
func (d *device) useSelector() {
	d.t.Helper()
	uki := d.selector()
	dir := d.t.TempDir()
	d.cfg = vm.Config{
		Kernel: filepath.Join(dir, "vmlinuz"), Initrd: filepath.Join(dir, "initrd"),
		Append:  uki.Cmdline + " " + quick + "abupdate.menu=0",
		Disks:   []vm.Disk{{Path: d.disk}},
		Forward: map[string]string{guestRegistry: d.d.registry},
	}
	for name, data := range map[string][]byte{d.cfg.Kernel: uki.Linux, d.cfg.Initrd: uki.Initrd} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			d.t.Fatal(err)
		}
	}
}

// selector reads the UKI from the disk's ESP.
func (d *device) selector() build.UKIOptions {
	d.t.Helper()
	layout := d.open()
	raw, err := disk.ReadESP(layout, updater.LoaderPath("amd64"))
	if err != nil {
		d.t.Fatal(err)
	}
	uki, err := build.ReadUKI(bytes.NewReader(raw))
	if err != nil {
		d.t.Fatal(err)
	}
	return uki
}

// open opens the disk file, which must not be in use by a guest.
func (d *device) open() *partitions.Disk {
	d.t.Helper()
	dev, err := blockdev.Open(d.disk, blockdev.ReadWrite)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { dev.Close() })
	layout, err := partitions.Open(dev)
	if err != nil {
		d.t.Fatal(err)
	}
	return layout
}

// copyFile keeps holes.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "--reflink=auto", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copying %s: %v: %s", from, err, out)
	}
}

// start boots the device; extra goes to the kernel's command line.
func (d *device) start(extra ...string) *guest {
	d.t.Helper()
	cfg := d.cfg
	cfg.Append = strings.Join(append([]string{cfg.Append}, extra...), " ")
	return start(d.t, cfg)
}

// host runs the host's abupdate with --disk, which must succeed.
func (d *device) host(args ...string) string {
	d.t.Helper()
	r := hostRun(d.f, append(args, "--disk", d.disk)...)
	if r.Exit != 0 {
		d.t.Fatalf("abupdate %q exited with %d\n%s%s", args, r.Exit, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// status is abupdate status on the host.
func (d *device) status() updater.Status {
	d.t.Helper()
	return decodeStatus(d.t, d.host("status", "--json"))
}

func decodeStatus(t *testing.T, out string) updater.Status {
	t.Helper()
	var s updater.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("status --json: %v\n%s", err, out)
	}
	return s
}

// hostRun runs bin/abupdate on the host.
func hostRun(f *fixtures, args ...string) vm.Result {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.bin.Abupdate, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); cmd.ProcessState == nil {
		return vm.Result{Exit: -1, Stderr: err.Error()}
	}
	return vm.Result{Exit: cmd.ProcessState.ExitCode(), Stdout: out.String(), Stderr: errOut.String()}
}

// status is abupdate status in the guest.
func (g *guest) status() updater.Status {
	g.t.Helper()
	return decodeStatus(g.t, g.run("abupdate", "status", "--json"))
}

// wantBoot waits for the next boot, which must be of this slot and version.
func (g *guest) wantBoot(slot, version string) boot {
	g.t.Helper()
	b := g.waitBoot()
	if b.Slot != slot || b.Version != version {
		g.t.Fatalf("booted slot %s with version %s; want %s with %s", b.Slot, b.Version, slot, version)
	}
	return b
}

// reboot orders a reboot and waits for nothing.
func (g *guest) reboot() {
	g.t.Helper()
	if err := g.Do("reboot"); err != nil {
		g.t.Fatal(err)
	}
}

// applyUpdate applies an update from the registry in the guest.
func (g *guest) applyUpdate(tag string, args ...string) {
	g.t.Helper()
	g.run(append([]string{"abupdate", "apply", guestRegistry + "/update:" + tag}, args...)...)
}
