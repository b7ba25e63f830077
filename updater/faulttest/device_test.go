package faulttest_test

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/faultserver"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// A device is a disk image file and the server that its updates come from.
type device struct {
	*faultserver.Server
	dir  string // the layout that it serves
	host string
	disk string
	home string
	env  []string          // of the command, besides
	old  bootctl.SlotState // slot A's
	slot []byte            // what it holds
}

// newDevice returns one whose slot A runs v1 and whose server has the updates,
// or the layout in dir.
func newDevice(t *testing.T, dir string) *device {
	t.Helper()
	setUp(t)
	if dir == "" {
		dir = shared.updates
	}
	return newDeviceOf(t, dir, shared.disk)
}

func newDeviceOf(t *testing.T, dir string, disk template) *device {
	t.Helper()
	d := &device{Server: faultserver.New(dir), dir: dir, disk: filepath.Join(t.TempDir(), "disk.raw"), home: t.TempDir()}
	d.host = d.Start(t)
	if err := disk.write(d.disk); err != nil {
		t.Fatal(err)
	}
	d.slot = disk.slotA
	st := d.state(t)
	d.old = *st.Slot(bootctl.SlotA)
	return d
}

// ref names what the server has under a tag.
func (d *device) ref(tag string) string { return d.host + "/os:" + tag }

// A row is what docs/faults.md tells of a fault.
type row struct {
	name string   // of the subtest
	code int      // the exit code
	says []string // in the message
}

// A result is how a command ended.
type result struct {
	code     int
	stdout   string
	messages []string // on stderr, besides progress
}

func (r result) message() string { return strings.Join(r.messages, "\n") }

// A run is a command that may still go on.
type run struct {
	cmd    *osexec.Cmd
	done   chan struct{}
	result result
}

// start runs a command; step, if not nil, gets each line of progress.
func (d *device) start(t *testing.T, step func(line string), args ...string) *run {
	t.Helper()
	cmd := osexec.Command(shared.program, append(args, "--json")...)
	// The command must see nothing of whoever runs the tests.
	cmd.Env = []string{"HOME=" + d.home, "PATH=" + os.Getenv("PATH"), "TMPDIR=" + d.home}
	cmd.Env = append(cmd.Env, d.env...)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &run{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if line := lines.Text(); !strings.HasPrefix(line, "{") {
				r.result.messages = append(r.result.messages, line)
			} else if step != nil {
				step(line)
			}
		}
		_ = cmd.Wait() // the exit code tells
		r.result.code, r.result.stdout = cmd.ProcessState.ExitCode(), stdout.String()
	}()
	t.Cleanup(func() { r.signal(t, os.Kill); <-r.done })
	return r
}

func (r *run) signal(t *testing.T, sig os.Signal) {
	if err := r.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("sending %v: %v", sig, err)
	}
}

func (r *run) wait() result {
	<-r.done
	return r.result
}

// apply runs abupdate apply to its end.
func (d *device) apply(t *testing.T, args ...string) result {
	t.Helper()
	return d.start(t, nil, append([]string{"apply", "--disk", d.disk}, args...)...).wait()
}

func (d *device) open(t *testing.T) *blockdev.File {
	t.Helper()
	dev, err := blockdev.Open(d.disk, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

func (d *device) state(t *testing.T) bootctl.State {
	t.Helper()
	dev := d.open(t)
	defer dev.Close()
	return ut.State(t, dev)
}

// slotIs says whether slot A holds these bytes.
func (d *device) slotIs(t *testing.T, want []byte) bool {
	t.Helper()
	dev := d.open(t)
	defer dev.Close()
	sec := ut.Slot(t, ut.DiskOn(t, dev), bootctl.SlotA)
	buf := make([]byte, 256<<10)
	for off := 0; off < len(want); off += len(buf) {
		buf = buf[:min(len(buf), len(want)-off)]
		if _, err := sec.ReadAt(buf, int64(off)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf, want[off:off+len(buf)]) {
			return false
		}
	}
	return sec.Size() == int64(len(want))
}

// checkUntouched makes sure that the running system is as it was, and that
// slot next boots next.
func (d *device) checkUntouched(t *testing.T, next bootctl.Slot) {
	t.Helper()
	if !d.slotIs(t, d.slot) {
		t.Error("slot a's bytes have changed")
	}
	st := d.state(t)
	if diff := cmp.Diff(d.old, *st.Slot(bootctl.SlotA)); diff != "" {
		t.Errorf("slot a's state has changed (-before +after):\n%s", diff)
	}
	if got := st.Active(); got != next {
		t.Errorf("slot %v boots next; want %v", got, next)
	}
}

// checkFailed makes sure that a command failed as it should: with this exit
// code, one line that says what and where, and no harm done.
func (d *device) checkFailed(t *testing.T, got result, code int, says ...string) {
	t.Helper()
	if got.code != code || len(got.messages) != 1 || !strings.HasPrefix(got.message(), "abupdate: ") || got.stdout != "" {
		t.Errorf("exit code %d, stdout %q, messages %q; want %d and one line", got.code, got.stdout, got.messages, code)
	}
	for _, s := range says {
		if !strings.Contains(got.message(), s) {
			t.Errorf("message %q; it does not say %q", got.message(), s)
		}
	}
	d.checkUntouched(t, bootctl.SlotA)
}

// checkApplied makes sure that an apply went through: the version is in slot B,
// whole, and boots next.
func (d *device) checkApplied(t *testing.T, got result, version string) {
	t.Helper()
	if got.code != 0 {
		t.Errorf("exit code %d, messages %q; want 0", got.code, got.messages)
		return
	}
	d.checkUntouched(t, bootctl.SlotB)
	sys, err := updater.Open(updater.OpenOptions{Disk: d.disk})
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	found, err := sys.Verify(t.Context(), []bootctl.Slot{bootctl.SlotB}, nil)
	if err != nil || found[0].State != updater.Intact || found[0].Version != version {
		t.Errorf("slot b is %+v, %v; want version %s intact", found, err, version)
	}
}

// checkFinishes makes sure that the next apply, with a server that behaves,
// goes through.
func (d *device) checkFinishes(t *testing.T, version string, args ...string) {
	t.Helper()
	d.Set()
	d.Forget()
	d.checkApplied(t, d.apply(t, args...), version)
}
