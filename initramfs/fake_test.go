package initramfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/verity/dm"
)

var _ initramfs.System = (*fakeSystem)(nil)

// image is a root file system: paths to contents. A content that starts with
// "-> " is a symlink; a path that ends with a slash is a directory.
type image map[string]string

// usual is an image that boots.
var usual = image{
	"sbin/init":           "#!",
	"usr/sbin/mkfs.ext4":  "#!",
	"usr/sbin/e2fsck":     "#!",
	"etc/machine-id":      "-> /run/machine-id",
	"var/lib/app/":        "",
	"var/lib/app/default": "as shipped",
	"var/run":             "-> /run",
	"var/empty/":          "",
}

func (im image) with(changes image) image {
	out := image{}
	for p, c := range im {
		out[p] = c
	}
	for p, c := range changes {
		if delete(out, p); c != "gone" {
			out[p] = c
		}
	}
	return out
}

func (im image) put(t testing.TB, root string) {
	t.Helper()
	for name, content := range im {
		p := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(p), 0o755)
		target, link := strings.CutPrefix(content, "-> ")
		switch {
		case err != nil:
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(p, 0o755)
		case link:
			err = os.Symlink(target, p)
		default:
			err = os.WriteFile(p, []byte(content), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A device is what stays between the boots of a test.
type device struct {
	t       testing.TB
	dev     blockdev.Device
	var_    string // what is in the file system of var
	images  map[bootctl.Slot]image
	cmdline string
	randoms int
}

func newDevice(t testing.TB, dev blockdev.Device) *device {
	return &device{t: t, dev: dev, var_: t.TempDir(), cmdline: "console=ttyS0 abupdate.menu=0",
		images: map[bootctl.Slot]image{bootctl.SlotA: usual, bootctl.SlotB: usual}}
}

func (d *device) layout() *partitions.Disk { return recoverytest.Open(d.t, d.dev) }

func (d *device) state() bootctl.State {
	d.t.Helper()
	s, err := recoverytest.Store(d.t, d.layout()).Load()
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *device) slot(slot bootctl.Slot) bootctl.SlotState {
	d.t.Helper()
	s := d.state()
	return *s.Slot(slot)
}

// fakeSystem is the machine of one boot. Calls are recorded as lines.
type fakeSystem struct {
	*device
	root    string
	release string
	console *recoverytest.Console
	clock   time.Duration
	// diskAt is when the disk appears.
	diskAt time.Duration
	// fail makes calls that start with a prefix fail, panics panic.
	fail    map[string]error
	panics  map[string]string
	exits   map[string]initramfs.Result // of programs, by name
	calls   []string
	log     []string
	booting bootctl.Slot

	onVerity  func()
	onOverlay func()
	switched  []string // init and its arguments
	env       []string
	restarted recovery.Restart
	kexec     *kexec // what was gone over to
	loaded    kexec
	watchdog  string // see ArmWatchdog
	line      string // command line, the device's when empty
}

// A kexec is another kernel as it was loaded.
type kexec struct {
	kernel string // content of its file
	initrd []byte
	line   string
}

// boot runs the sequence once; set changes the machine first.
func (d *device) boot(set ...func(*fakeSystem)) *fakeSystem {
	d.t.Helper()
	f := &fakeSystem{device: d, root: d.t.TempDir(), release: recoverytest.Kernel,
		console: &recoverytest.Console{}, fail: map[string]error{}, panics: map[string]string{}, exits: map[string]initramfs.Result{}}
	f.console.Clock = func(d time.Duration) { f.clock += d }
	for _, fn := range set {
		fn(f)
	}
	var err error
	done := make(chan struct{})
	go func() { // which may end without returning
		defer close(done)
		err = initramfs.Boot(f)
	}()
	<-done
	ends := 0
	for _, end := range []bool{f.switched != nil, f.restarted != 0, f.kexec != nil} {
		if end {
			ends++
		}
	}
	if ends != 1 {
		d.t.Errorf("switched to %q, restarted %v, went over to %v; want one of them", f.switched, f.restarted, f.kexec)
	}
	if (err == nil) == (f.restarted == recovery.Reboot && f.console.Len() == 0) {
		d.t.Errorf("Boot() = %v, restarted %v", err, f.restarted)
	}
	return f
}

// call records a call and says whether it is to fail.
func (f *fakeSystem) call(format string, args ...any) error {
	line := strings.TrimSpace(fmt.Sprintf(format, args...))
	f.calls = append(f.calls, line)
	for prefix, text := range f.panics {
		if strings.HasPrefix(line, prefix) {
			panic(text)
		}
	}
	return f.failing(line)
}

func (f *fakeSystem) failing(line string) error {
	for prefix, err := range f.fail {
		if strings.HasPrefix(line, prefix) {
			return err
		}
	}
	return nil
}

func (f *fakeSystem) Root() string      { return f.root }
func (f *fakeSystem) Release() string   { return f.release }
func (f *fakeSystem) Args() []string    { return []string{"single"} }
func (f *fakeSystem) Environ() []string { return []string{"TERM=vt220", "color=blue"} }

func (f *fakeSystem) Mount(m initramfs.Mount) error {
	source := strings.TrimPrefix(m.Source, f.root)
	if err := f.call("mount %s %s %s %s", m.Type, source, m.Target, flagNames(m.Flags)+m.Data); err != nil {
		return err
	}
	target := filepath.Join(f.root, m.Target)
	if _, err := os.Stat(target); err != nil {
		return err
	}
	switch {
	case m.Type == "proc":
		line := f.line
		if line == "" {
			line = f.cmdline
		}
		image{"cmdline": line + "\n", "uptime": "1.50 2.25\n", "sys/kernel/panic": "0\n", "sys/kernel/printk_devkmsg": "ratelimit\n"}.put(f.t, target)
	case m.Type == "sysfs":
		image{"kernel/kexec_loaded": "0\n"}.put(f.t, target)
	case m.Type == "squashfs":
		f.images[f.booting].put(f.t, target)
	case m.Type == "overlay" && m.Target == "/sysroot":
		if f.onOverlay != nil {
			f.onOverlay()
		}
		f.images[f.booting].put(f.t, target)
	case m.Target == "/sysroot/var":
		if err := os.RemoveAll(target); err != nil {
			return err
		}
		return os.Symlink(f.var_, target)
	}
	return nil
}

func flagNames(flags initramfs.MountFlag) string {
	var s string
	for _, f := range []struct {
		flag initramfs.MountFlag
		name string
	}{{initramfs.ReadOnly, "ro "}, {initramfs.Bind, "bind "}, {initramfs.Move, "move "}} {
		if flags&f.flag != 0 {
			s += f.name
		}
	}
	return s
}

func (f *fakeSystem) Unmount(target string) error { return f.call("unmount %s", target) }

func (f *fakeSystem) LoadModule(path, params string) error {
	return f.call("module %s %s", strings.TrimPrefix(path, f.root), params)
}

func (f *fakeSystem) FindDisk(hint partitions.Hint) (*initramfs.Disk, error) {
	if f.clock < f.diskAt {
		return nil, partitions.ErrNoDisk
	}
	if err := f.call("disk loader=%s disk=%s", hint.Loader, hint.DiskPartUUID); err != nil {
		return nil, err
	}
	return &initramfs.Disk{Path: "/dev/vda", Dev: f.dev}, nil
}

func (f *fakeSystem) ShowPartition(_ *initramfs.Disk, p partitions.Partition) error {
	return f.call("show %s", p.Label)
}

func (f *fakeSystem) OpenVerity(target dm.Target) (string, error) {
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		p, err := f.layout().SlotPartition(slot)
		if err == nil && p.Node("/dev/vda") == target.Device {
			f.booting = slot
		}
	}
	if f.onVerity != nil {
		f.onVerity()
	}
	return "/dev/dm-0", f.call("verity %s restart=%v", target.Device, target.RestartOnCorruption)
}

func (f *fakeSystem) GrowFilesystem(mountpoint, fstype string, size int64) error {
	return f.call("growfs %s %s %d", strings.TrimPrefix(mountpoint, f.root), fstype, size)
}

func (f *fakeSystem) SyncFilesystem(mountpoint string) error {
	return f.call("syncfs %s", strings.TrimPrefix(mountpoint, f.root))
}

// Run stands for the image's tools: mkfs makes a superblock and empties var.
func (f *fakeSystem) Run(c initramfs.Command) (initramfs.Result, error) {
	if err := f.call("run %s %s", c.Path, strings.Join(c.Args, " ")); err != nil {
		return initramfs.Result{}, err
	}
	if c.Timeout <= 0 {
		f.t.Errorf("%s runs without a bound", c.Path)
	}
	name := filepath.Base(c.Path)
	if strings.HasPrefix(name, "mkfs.") && f.exits[name].Exit == 0 {
		if err := f.mkfs(strings.TrimPrefix(name, "mkfs.")); err != nil {
			return initramfs.Result{}, err
		}
	}
	return f.exits[name], nil
}

func (f *fakeSystem) mkfs(kind string) error {
	sec, err := f.layout().Section(partitions.LabelVar)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(f.var_)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(f.var_, e.Name())); err != nil {
			return err
		}
	}
	return errors.Join(putSuperblock(sec, kind), sec.Sync())
}

// putSuperblock writes what probe looks at.
func putSuperblock(dev blockdev.Device, kind string) error {
	if kind == "btrfs" {
		b := make([]byte, 0x78)
		copy(b[64:], "_BHRfS_M")
		binary.LittleEndian.PutUint64(b[0x70:], uint64(dev.Size()))
		_, err := dev.WriteAt(b, 64<<10)
		return err
	}
	sb := make([]byte, 1024)
	binary.LittleEndian.PutUint32(sb[0x4:], uint32(dev.Size()/4096))
	binary.LittleEndian.PutUint32(sb[0x18:], 2)
	copy(sb[0x38:], "\x53\xef\x01\x00")
	_, err := dev.WriteAt(sb, 1024)
	return err
}

func (f *fakeSystem) Lchown(path string, uid, gid uint32) error {
	return f.failing(fmt.Sprintf("lchown %s %d:%d", strings.TrimPrefix(path, f.root), uid, gid))
}

func (f *fakeSystem) Random(p []byte) error {
	f.randoms++
	for i := range p {
		p[i] = byte(i*7 + f.randoms)
	}
	return f.call("random %d", len(p))
}

func (f *fakeSystem) Console() recovery.Console { return f.console }

func (f *fakeSystem) Log(_ bool, line string) { f.log = append(f.log, line) }

func (f *fakeSystem) Uptime() time.Duration { return f.clock }

func (f *fakeSystem) Sleep(d time.Duration) { f.clock += d }

// ArmWatchdog finds a watchdog once a call that starts with f.watchdog was
// made.
func (f *fakeSystem) ArmWatchdog(timeout time.Duration) (bool, error) {
	if !f.did(f.watchdog) {
		return false, nil
	}
	return true, f.call("watchdog %v", timeout)
}

func (f *fakeSystem) Settle() {}
func (f *fakeSystem) Alive()  {}

func (f *fakeSystem) BridgeWatchdog(timeout, grace time.Duration) error {
	return f.call("bridge %v %v", timeout, grace)
}

func (f *fakeSystem) LoadKernel(file string, initrd func(io.Writer) error, line string) error {
	if err := f.call("kernel %s %s", strings.TrimPrefix(file, f.root), line); err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var cpio bytes.Buffer
	if err := initrd(&cpio); err != nil {
		return err
	}
	f.loaded = kexec{string(b), cpio.Bytes(), line}
	return nil
}

// StartKernel does not return, as on a real machine.
func (f *fakeSystem) StartKernel() error {
	if err := f.call("kexec"); err != nil {
		return err
	}
	f.kexec = &f.loaded
	runtime.Goexit()
	return nil
}

func (f *fakeSystem) SwitchRoot(root, init string, args, env []string) error {
	if err := f.call("switch_root %s", root); err != nil {
		return err
	}
	f.switched, f.env = append([]string{init}, args...), env
	return nil
}

func (f *fakeSystem) Restart(how recovery.Restart) { f.restarted = how }

// said says whether a line was logged that contains text.
func (f *fakeSystem) said(text string) bool {
	return slices.ContainsFunc(f.log, func(l string) bool { return strings.Contains(l, text) })
}

// did says whether a call was made that starts with prefix.
func (f *fakeSystem) did(prefix string) bool {
	return slices.ContainsFunc(f.calls, func(l string) bool { return strings.HasPrefix(l, prefix) })
}

// read returns the content of a file of the machine, or of its new root.
func (f *fakeSystem) read(name string) string {
	b, err := os.ReadFile(filepath.Join(f.root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "(none)"
	}
	if err != nil {
		f.t.Error(err)
	}
	return string(b)
}
