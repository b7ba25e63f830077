package initramfs

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// Run starts a program of the image in its own root.
func (m *machine) Run(c Command) (Result, error) {
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return Result{}, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return Result{}, err
	}
	defer r.Close()
	attr := &syscall.SysProcAttr{Setsid: true}
	if c.Root != "/" {
		attr.Chroot = c.Root
	}
	proc, err := os.StartProcess(c.Path, append([]string{c.Path}, c.Args...), &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=" + DefaultPath, "HOME=/", "LANG=C"},
		Files: []*os.File{null, w, w},
		Sys:   attr,
	})
	w.Close()
	if err != nil {
		return Result{}, err
	}
	out := &tail{done: make(chan struct{})}
	go out.readFrom(r)
	res, err := m.wait(proc, c)
	select {
	case <-out.done:
	case <-time.After(time.Second): // a child of it holds the pipe
	}
	res.Output = out.String()
	return res, err
}

// wait waits for the process, pinging the watchdog, and kills it after the
// command's timeout.
func (m *machine) wait(proc *os.Process, c Command) (Result, error) {
	type end struct {
		state *os.ProcessState
		err   error
	}
	done := make(chan end, 1)
	go func() {
		state, err := proc.Wait()
		done <- end{state, err}
	}()
	timeout := time.After(c.Timeout)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case e := <-done:
			if e.err != nil {
				return Result{}, fmt.Errorf("waiting for %s: %w", c.Path, e.err)
			}
			if !e.state.Exited() {
				return Result{}, fmt.Errorf("%s: %v", c.Path, e.state)
			}
			return Result{Exit: e.state.ExitCode()}, nil
		case <-tick.C:
			m.Alive()
		case <-timeout:
			proc.Kill() // not waited for: it may hang in the kernel
			return Result{}, fmt.Errorf("%s: no end after %v", c.Path, c.Timeout)
		}
	}
}

// tail keeps the end of what a program prints.
type tail struct {
	done chan struct{} // closed at the output's end
	mu   sync.Mutex
	b    []byte
}

const maxTail = 1 << 10

func (t *tail) readFrom(r *os.File) {
	defer close(t.done)
	buf := make([]byte, 512)
	for {
		n, err := r.Read(buf)
		t.mu.Lock()
		t.b = append(t.b, buf[:n]...)
		t.b = t.b[max(0, len(t.b)-maxTail):]
		t.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
