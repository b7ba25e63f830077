package vm_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/abupdate/abupdate/internal/vm"
)

// TestMain lets the test binary stand in for QEMU, so that these tests take
// milliseconds and can make it misbehave.
func TestMain(m *testing.M) {
	if mode := os.Getenv("VM_TEST_FAKE"); mode != "" {
		fake(mode)
	}
	os.Exit(m.Run())
}

// fake speaks QMP on descriptor 3, the agent's protocol on 4 and a console on
// 0 and 1, and keeps what it was started with.
func fake(mode string) {
	if mode == "dies" {
		fmt.Fprintln(os.Stderr, "qemu: could not open disk")
		os.Exit(1)
	}
	qmp, agent := os.NewFile(3, "qmp"), os.NewFile(4, "agent")
	fmt.Fprintln(qmp, `{"QMP":{"version":{}}}`)
	go func() {
		for sc := bufio.NewScanner(agent); sc.Scan(); {
			var req vm.Request
			if json.Unmarshal(sc.Bytes(), &req) != nil {
				continue
			}
			switch {
			case req.Do == "reboot":
				fmt.Fprint(agent, `{"id":1,"ex`) // a line that is cut off
				fmt.Fprintln(qmp, `{"event":"RESET","data":{"guest":true}}`)
				fmt.Fprintln(agent, "\n"+`{"event":"boot","slot":"b"}`)
			case len(req.Run) > 0 && req.Run[0] == "never":
			default:
				out, _ := json.Marshal(vm.Result{ID: req.ID, Exit: len(req.Run), Stdout: strings.Join(req.Run, "+") + req.Stdin})
				fmt.Fprintln(agent, string(out))
			}
		}
	}()
	go func() {
		fmt.Fprint(os.Stdout, "booting\r\nPress a key (")
		for sc := bufio.NewScanner(os.Stdin); sc.Scan(); {
			fmt.Fprintf(os.Stdout, "chose %s)\r\n", sc.Text())
		}
	}()
	fmt.Fprintln(agent, "\n"+`{"event":"early"}`+"\n"+`{"event":"boot","slot":"a"}`)
	for sc := bufio.NewScanner(qmp); sc.Scan(); {
		var cmd struct{ Execute string }
		if json.Unmarshal(sc.Bytes(), &cmd) != nil {
			continue
		}
		switch cmd.Execute {
		case "system_reset":
			fmt.Fprintln(qmp, `{"return":{}}`+"\n"+`{"event":"RESET","data":{"guest":false}}`)
		case "quit":
			fmt.Fprintln(qmp, `{"return":{}}`)
			os.Exit(0)
		case "qmp_capabilities":
			fmt.Fprintln(qmp, `{"return":{}}`)
		default:
			fmt.Fprintln(qmp, `{"error":{"class":"CommandNotFound","desc":"no"}}`)
		}
	}
	os.Exit(0)
}

func start(t *testing.T, mode string, change ...func(*vm.Config)) (*vm.VM, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("VM_TEST_FAKE", mode)
	t.Setenv("ABUPDATE_QEMU", self)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cfg := vm.Config{Kernel: "vmlinuz", Disks: []vm.Disk{{Path: disk}}}
	for _, f := range change {
		f(&cfg)
	}
	v, err := vm.Start(wait(t, 10*time.Second), cfg)
	if err == nil {
		t.Cleanup(v.Kill)
	}
	return v, err
}

func must(t *testing.T, change ...func(*vm.Config)) *vm.VM {
	t.Helper()
	v, err := start(t, "works", change...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func wait(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestEventsAndRun(t *testing.T) {
	v := must(t)
	ctx := wait(t, 10*time.Second)
	var b struct{ Slot string }
	e, err := v.Event(ctx, "boot")
	if err != nil || e.Decode(&b) != nil || b.Slot != "a" {
		t.Fatalf("Event(boot) = %s, %v; want slot a", e.Raw, err)
	}
	r, err := v.Run(ctx, "in", "abupdate", "status")
	if err != nil || r.Exit != 2 || r.Stdout != "abupdate+statusin" {
		t.Errorf("Run() = %+v, %v; want exit 2 and abupdate+statusin", r, err)
	}
	if err := v.Do("reboot"); err != nil {
		t.Fatal(err)
	}
	if e, err = v.Event(ctx, "boot"); err != nil || e.Decode(&b) != nil || b.Slot != "b" {
		t.Errorf("second Event(boot) = %s, %v; want slot b", e.Raw, err)
	}
	if _, err := v.Event(wait(t, 50*time.Millisecond), "boot"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("third Event(boot) = %v; want its deadline", err)
	}
}

func TestConsole(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	v := must(t, func(c *vm.Config) { c.ConsoleLog = log })
	ctx := wait(t, 10*time.Second)
	if _, err := v.Expect(ctx, regexp.MustCompile(`Press a key`)); err != nil {
		t.Fatal(err)
	}
	if err := v.Type("3\n"); err != nil {
		t.Fatal(err)
	}
	got, err := v.Expect(ctx, regexp.MustCompile(`chose (\d)`))
	if err != nil || len(got) != 2 || got[1] != "3" {
		t.Fatalf("Expect(chose) = %q, %v; want 3", got, err)
	}
	v.Kill()
	b, err := os.ReadFile(log)
	if want := "booting\r\nPress a key (chose 3)\r\n"; err != nil || string(b) != want {
		t.Errorf("log = %q, %v; want %q", b, err, want)
	}
	if _, err := v.Expect(ctx, regexp.MustCompile(`more`)); !errors.Is(err, vm.ErrExited) {
		t.Errorf("Expect() after the end = %v; want ErrExited", err)
	}
}

func TestEnd(t *testing.T) {
	t.Run("kill", func(t *testing.T) {
		v := must(t)
		pid := v.Pid()
		v.Kill()
		v.Kill() // twice is fine
		if err := syscall.Kill(pid, 0); err == nil {
			t.Errorf("process %d still lives after Kill()", pid)
		}
		if err := v.Wait(wait(t, time.Second)); err == nil {
			t.Error("Wait() after Kill() = nil; want the signal")
		}
		if _, err := v.Run(wait(t, time.Second), "", "true"); err == nil {
			t.Error("Run() after Kill() = nil; want an error")
		}
	})
	t.Run("quit", func(t *testing.T) {
		v := must(t)
		if err := v.Quit(wait(t, 10*time.Second)); err != nil {
			t.Errorf("Quit() = %v", err)
		}
		if err := v.Reset(wait(t, time.Second)); !errors.Is(err, vm.ErrExited) {
			t.Errorf("Reset() after Quit() = %v; want ErrExited", err)
		}
	})
	t.Run("a reset cuts Run short", func(t *testing.T) {
		v := must(t)
		ctx := wait(t, 10*time.Second)
		errs := make(chan error)
		go func() {
			_, err := v.Run(ctx, "", "never")
			errs <- err
		}()
		// The request must be under way: the agent answers in order.
		for {
			if r, err := v.Run(ctx, "", "x"); err != nil || r.ID > 1 {
				break
			}
		}
		if err := v.Reset(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-errs; !errors.Is(err, vm.ErrReset) {
			t.Errorf("Run() across a reset = %v; want ErrReset", err)
		}
	})
}

func TestStartFails(t *testing.T) {
	if _, err := start(t, "dies"); err == nil || !strings.Contains(err.Error(), "could not open disk") || !strings.Contains(err.Error(), "-kernel vmlinuz") {
		t.Errorf("Start() of a QEMU that dies = %v; want what it said, and the command", err)
	}
	for name, change := range map[string]func(*vm.Config){
		"no disk":           func(c *vm.Config) { c.Disks[0].Path += "-absent" },
		"nothing to boot":   func(c *vm.Config) { c.Kernel, c.Disks = "", nil },
		"append, no kernel": func(c *vm.Config) { c.Kernel, c.Append = "", "quiet" },
		"forward to a name": func(c *vm.Config) { c.Forward = map[string]string{"10.0.2.100:80": "localhost:80"} },
		"log in no folder":  func(c *vm.Config) { c.ConsoleLog = "/nonexistent/log" },
	} {
		if _, err := start(t, "works", change); err == nil {
			t.Errorf("%s: Start() = nil; want an error", name)
		}
	}
	t.Setenv("ABUPDATE_QEMU", "/nonexistent/qemu")
	if _, err := vm.Start(wait(t, time.Second), vm.Config{Kernel: "k"}); err == nil {
		t.Error("Start() without QEMU = nil; want an error")
	}
}

// TestAtMostTwo also shows that every failed and ended start gave back its place.
func TestAtMostTwo(t *testing.T) {
	first, second := must(t), must(t)
	if _, err := vm.Start(wait(t, 50*time.Millisecond), vm.Config{Kernel: "k"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("third Start() = %v; want its deadline", err)
	}
	first.Kill()
	must(t)
	second.Kill()
}

func TestCommand(t *testing.T) {
	t.Setenv("ABUPDATE_QEMU", "")
	t.Setenv("ABUPDATE_QEMU_ACCEL", "")
	tests := []struct {
		name string
		cfg  vm.Config
		want string
	}{
		{
			"direct",
			vm.Config{Kernel: "/k/vmlinuz", Initrd: "/k/my initrd", Append: "console=ttyS0 panic=5", Disks: []vm.Disk{{Path: "a,b.img", Serial: "x", ReadOnly: true}}},
			"qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 1 -m 256 -nodefaults -no-user-config -display none " +
				"-kernel /k/vmlinuz -initrd '/k/my initrd' -append 'console=ttyS0 panic=5' " +
				"-drive if=none,format=raw,cache=writeback,id=disk0,file=a,,b.img,readonly=on -device virtio-blk-pci,drive=disk0,serial=x -serial mon:stdio",
		},
		{
			"a log of writes",
			vm.Config{Kernel: "k", Disks: []vm.Disk{{Path: "a,b.img", WriteLog: "log"}}},
			"qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 1 -m 256 -nodefaults -no-user-config -display none -kernel k " +
				"-blockdev driver=file,node-name=disk0-data,filename=a,,b.img -blockdev driver=file,node-name=disk0-log,filename=log " +
				"-blockdev driver=blklogwrites,node-name=disk0,file=disk0-data,log=disk0-log,log-sector-size=512,log-super-update-interval=4096 " +
				"-device virtio-blk-pci,drive=disk0 -serial mon:stdio",
		},
		{
			"UEFI with a network",
			vm.Config{Vars: "/absent/it's.fd", MemoryMiB: 512, NoReboot: true, Disks: []vm.Disk{{Path: "d"}}, Forward: map[string]string{"10.0.2.100:5000": "127.0.0.1:4567"}},
			`cp /usr/share/OVMF/OVMF_VARS_4M.fd '/absent/it'\''s.fd' && qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 1 -m 512 ` +
				"-nodefaults -no-user-config -display none -no-reboot -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd " +
				`-drive 'if=pflash,format=raw,file=/absent/it'\''s.fd' -drive if=none,format=raw,cache=writeback,id=disk0,file=d -device virtio-blk-pci,drive=disk0,bootindex=0 ` +
				`-netdev 'user,id=net0,restrict=on,guestfwd=tcp:10.0.2.100:5000-cmd:bash -c '\''exec 3<>/dev/tcp/127.0.0.1/4567 || exit; ` +
				`cat <&3 & cat <&0 >&3 & wait -n; kill $(jobs -p) 2>/dev/null'\''' ` +
				"-device virtio-net-pci,netdev=net0,romfile= -serial mon:stdio",
		},
	}
	for _, tt := range tests {
		if got := tt.cfg.Command(); got != tt.want {
			t.Errorf("%s: Command() =\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}
