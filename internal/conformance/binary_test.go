package conformance_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A result is how a run of the program ended.
type result struct {
	code           int
	stdout, stderr string
	peak           int64 // most memory resident at a time, in bytes
}

// measure runs the program and watches its memory. What wait4 says of that has
// this process's own memory in it, which the child shares until it is another
// program; so the high-water mark of the new program is read while it runs. It
// only grows: what a look at its end misses is what came in the last moment.
func measure(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	r := result{}
	for {
		select {
		case err := <-done:
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			r.code, r.stdout, r.stderr = cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
			return r
		case <-time.After(time.Millisecond):
			r.peak = max(r.peak, highWater(cmd.Process.Pid))
		}
	}
}

// highWater is the most memory that a process has had resident so far; 0 when
// it is gone.
func highWater(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// wantPeak holds a run to a bound, in MiB.
func (r result) wantPeak(t *testing.T, bound int64) {
	t.Helper()
	if r.peak == 0 {
		t.Error("the program's memory was never seen")
	}
	t.Logf("peak memory %d MiB of at most %d", r.peak>>20, bound)
	if r.peak > bound<<20 {
		t.Errorf("peak memory is %d MiB; want at most %d", r.peak>>20, bound)
	}
}
