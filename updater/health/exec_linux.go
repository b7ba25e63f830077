package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Exec runs checks as processes, each in a group of its own that ends with it.
type Exec struct{}

// grace is how long a check whose time is over may take to clean up.
const grace = 5 * time.Second

// Run implements Runner.
func (Exec) Run(ctx context.Context, c Check, env []string, out io.Writer) error {
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", out, out
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting it: %w", err)
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what is left of it
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it said that all is well, and left something running
	}
	return err
}
