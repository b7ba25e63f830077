package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
)

// ConvertQcow2 writes the disk image file raw as qcow2 to path, by qemu-img,
// and syncs it, which qemu-img does not. After an error there is no file at
// path.
func ConvertQcow2(ctx context.Context, raw, path string) error {
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		return fault.Errorf(fault.Usage, "converting to qcow2: qemu-img is not installed (Debian package qemu-utils)")
	}
	cmd := exec.CommandContext(ctx, tool, "convert", "-f", "raw", "-O", "qcow2", "--", raw, path)
	out, err := cmd.CombinedOutput()
	if err == nil {
		err = syncFile(path)
	}
	if err == nil {
		return nil
	}
	os.Remove(path)
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("converting to qcow2: %w", cause)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return fmt.Errorf("converting %s to qcow2: %s", raw, line)
	}
	return fmt.Errorf("converting %s to qcow2: %w", raw, err)
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
