package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrExited is wrapped by errors of waits that QEMU's end cut short.
var ErrExited = errors.New("QEMU has ended")

// running holds one token per guest of this process: more than two at a time
// only slow each other down on small machines. ABUPDATE_QEMU_JOBS changes it.
var running = sync.OnceValue(func() chan struct{} {
	n, err := strconv.Atoi(os.Getenv("ABUPDATE_QEMU_JOBS"))
	if err != nil || n < 1 {
		n = 2
	}
	return make(chan struct{}, n)
})

// A VM is a running guest. Its methods may be called at the same time.
type VM struct {
	cfg     Config
	cmd     *exec.Cmd
	console *console
	agent   *agent
	qmp     *qmp
	stderr  *tail
	done    chan struct{} // closed after QEMU has ended and all was read
	waitErr error
	dir     string // removed at the end
}

// Start boots a guest. It waits while two others run. The guest lives until
// Kill, Quit or its own end; ctx bounds the start only.
func Start(ctx context.Context, cfg Config) (*VM, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	select {
	case running() <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("starting guest: waiting for others: %w", context.Cause(ctx))
	}
	v, err := start(cfg)
	if err != nil {
		<-running()
		return nil, err
	}
	if err := v.qmp.handshake(ctx); err != nil {
		v.Kill()
		return nil, fmt.Errorf("starting guest: %w\n%s\n%s", err, v.stderr, cfg.Command())
	}
	return v, nil
}

func start(cfg Config) (_ *VM, err error) {
	v := &VM{cfg: cfg, stderr: &tail{}, done: make(chan struct{})}
	if v.dir, err = os.MkdirTemp("", "abupdate-vm-"); err != nil {
		return nil, fmt.Errorf("starting guest: %w", err)
	}
	var ours, theirs []io.Closer
	defer func() {
		closeAll(theirs)
		if err != nil {
			closeAll(ours)
			os.RemoveAll(v.dir)
		}
	}()
	vars, err := v.vars()
	if err == nil {
		err = cfg.makeLogs()
	}
	if err != nil {
		return nil, fmt.Errorf("starting guest: %w", err)
	}
	v.cmd = exec.Command(binary(), append(cfg.args(vars),
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control",
		"-chardev", "socket,id=agent,fd=4", "-device", "virtio-serial-pci",
		"-device", "virtserialport,chardev=agent,name="+AgentPort)...)
	v.cmd.Stderr = v.stderr
	// Should this process die, QEMU dies too.
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	var socks [2]*os.File
	for i, name := range []string{"qmp", "agent"} {
		a, b, err := socketpair(name)
		if err != nil {
			return nil, fmt.Errorf("starting guest: %w", err)
		}
		socks[i] = a
		ours, theirs = append(ours, a), append(theirs, b)
		v.cmd.ExtraFiles = append(v.cmd.ExtraFiles, b)
	}
	in, err := v.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("starting guest: %w", err)
	}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting guest: %w", err)
	}
	if v.console, err = newConsole(cfg.ConsoleLog, in); err != nil {
		return nil, fmt.Errorf("starting guest: %w", err)
	}
	v.agent, v.qmp = newAgent(socks[1]), newQMP(socks[0])
	if err := v.spawn(out); err != nil {
		v.console.close()
		return nil, fmt.Errorf("starting guest: %w", err)
	}
	return v, nil
}

// spawn starts QEMU and the goroutines that read from it. They end with it.
func (v *VM) spawn(out io.Reader) error {
	started := make(chan error)
	go func() {
		// Pdeathsig is sent when the thread that started QEMU ends, so this
		// one must stay for as long as QEMU lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := v.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		var readers sync.WaitGroup
		readers.Go(func() { v.console.read(out) })
		readers.Go(v.agent.read)
		readers.Go(func() { v.qmp.read(v.agent.add) })
		readers.Wait()
		v.waitErr = v.cmd.Wait()
		v.console.close()
		v.agent.close()
		v.qmp.close()
		os.RemoveAll(v.dir)
		<-running()
		close(v.done)
	}()
	return <-started
}

// vars returns the file of UEFI variables, made from OVMF's when needed.
func (v *VM) vars() (string, error) {
	if v.cfg.Kernel != "" {
		return "", nil
	}
	file := v.cfg.Vars
	if file == "" {
		file = filepath.Join(v.dir, "vars.fd")
	}
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	b, err := os.ReadFile(v.cfg.firmware().vars)
	if err != nil {
		return "", fmt.Errorf("reading UEFI variables (Debian package ovmf): %w", err)
	}
	return file, os.WriteFile(file, b, 0o600)
}

// Kill ends QEMU as a power cut would, and waits for it.
func (v *VM) Kill() {
	v.cmd.Process.Kill() //nolint:errcheck // it has ended already
	<-v.done
}

// Done is closed when QEMU has ended.
func (v *VM) Done() <-chan struct{} { return v.done }

// Wait waits for QEMU's own end: the guest's power off, Quit, or a reboot with
// NoReboot.
func (v *VM) Wait(ctx context.Context) error {
	select {
	case <-v.done:
		if v.waitErr != nil {
			return fmt.Errorf("running QEMU: %w\n%s", v.waitErr, v.stderr)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for the guest's end: %w", context.Cause(ctx))
	}
}

// Reset presses the reset button.
func (v *VM) Reset(ctx context.Context) error { return v.qmp.do(ctx, "system_reset") }

// Quit ends QEMU in an orderly way, the guest as if by a power cut.
func (v *VM) Quit(ctx context.Context) error {
	if err := v.qmp.do(ctx, "quit"); err != nil && !errors.Is(err, ErrExited) {
		return err
	}
	return v.Wait(ctx)
}

// Command is a shell command that starts the same guest by hand.
func (v *VM) Command() string { return v.cfg.Command() }

// Pid is QEMU's process number.
func (v *VM) Pid() int { return v.cmd.Process.Pid }

// CPUSeconds is what QEMU used; it is known after its end.
func (v *VM) CPUSeconds() float64 {
	if s := v.cmd.ProcessState; s != nil {
		return (s.UserTime() + s.SystemTime()).Seconds()
	}
	return 0
}

func socketpair(name string) (ours, theirs *os.File, err error) {
	fd, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("making socket for %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd[0]), name), os.NewFile(uintptr(fd[1]), name), nil
}

func closeAll(cs []io.Closer) {
	for _, c := range cs {
		c.Close()
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// A tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if n := t.buf.Len(); n > 8<<10 {
		t.buf.Next(n - 8<<10)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}
