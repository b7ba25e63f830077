package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A usage is what a command and all processes below it took.
type usage struct {
	CPU   float64 // seconds, user and system
	Wall  float64 // seconds
	RSS   int64   // peak of the largest single process, bytes
	Disk  int64   // temporary, bytes; only where it is asked for
	Size  int64   // of the image that was made, bytes
	Steps []step  // of a sequence of commands

	// Of an update, bytes: what was fetched of the image, and besides.
	Fetched, Extra int64
	Ranges         int // in how many requests

	Boot boot // of a guest
}

type step struct {
	Name string
	usage
}

// add takes in one more step of a sequence.
func (u *usage) add(name string, s usage) {
	u.CPU += s.CPU
	u.Wall += s.Wall
	u.RSS = max(u.RSS, s.RSS)
	u.Disk = max(u.Disk, s.Disk)
	u.Steps = append(u.Steps, step{name, s})
}

// A command is a program to measure. Its output is thrown away.
type command struct {
	args   []string
	stdin  string // file; "" is none
	tmpdir string
}

// measured is the mode of this program in which it runs another one and tells
// on descriptor 3 what that took. It stands in between because the peak that
// the kernel counts for a child begins with the memory of the process that
// started it, and that is a large one here, and because the count of children
// is of all children.
const measured = "measured"

// report is what it tells.
type report struct {
	CPU, Wall float64
	RSS       int64
}

// measure runs a command and returns what it took.
func measure(ctx context.Context, c command) (usage, error) {
	p, err := start(ctx, c)
	if err != nil {
		return usage{}, err
	}
	return p.wait()
}

// A process is a command that runs.
type process struct {
	cmd    *exec.Cmd
	args   []string
	pipe   *os.File
	stderr *tail
}

func start(ctx context.Context, c command) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, append([]string{measured}, c.args...)...), args: c.args, stderr: &tail{}}
	if c.stdin != "" {
		in, err := os.Open(c.stdin)
		if err != nil {
			return nil, err
		}
		defer in.Close()
		p.cmd.Stdin = in
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	p.pipe, p.cmd.ExtraFiles, p.cmd.Stderr = r, []*os.File{w}, p.stderr
	p.cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if c.tmpdir != "" {
		p.cmd.Env = append(p.cmd.Env, "TMPDIR="+c.tmpdir)
	}
	// In a session of their own the processes can be found and ended together.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.cmd.Cancel = func() error { return unix.Kill(-p.cmd.Process.Pid, unix.SIGTERM) }
	p.cmd.WaitDelay = 10 * time.Second
	if err := p.cmd.Start(); err != nil {
		r.Close()
		return nil, fmt.Errorf("running %s: %w", c.args[0], err)
	}
	return p, nil
}

func (p *process) wait() (usage, error) {
	defer p.pipe.Close()
	told, readErr := io.ReadAll(p.pipe)
	if err := p.cmd.Wait(); err != nil {
		return usage{}, fmt.Errorf("running %s: %w: %s", strings.Join(p.args, " "), err, p.stderr)
	}
	var r report
	if err := errors.Join(readErr, json.Unmarshal(told, &r)); err != nil {
		return usage{}, fmt.Errorf("measuring %s: %w", p.args[0], err)
	}
	return usage{CPU: r.CPU, Wall: r.Wall, RSS: r.RSS}, nil
}

// runMeasured is main in the mode measured.
func runMeasured(args []string) error {
	unix.CloseOnExec(3) // not for the program
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	begin := time.Now()
	if err := cmd.Run(); err != nil {
		return err
	}
	r := report{Wall: time.Since(begin).Seconds()}
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &ru); err != nil {
		return err
	}
	r.CPU = float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
	r.RSS = ru.Maxrss << 10
	out := os.NewFile(3, "report")
	defer out.Close()
	return json.NewEncoder(out).Encode(r)
}

// A tail keeps the end of what is written to it.
type tail struct{ text string }

const tailBytes = 2000

func (t *tail) Write(p []byte) (int, error) {
	t.text += string(p)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(t.text) }
