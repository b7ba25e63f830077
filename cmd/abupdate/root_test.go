package main

import (
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// Who may not open the disk is told so. Run by root, the program is started
// as nobody.
func TestNotRoot(t *testing.T) {
	dir, err := os.MkdirTemp("", "abupdate-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	prog, disk := filepath.Join(dir, "abupdate"), filepath.Join(dir, "disk.raw")
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(prog, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(ut.EmptyDisk(t), disk); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(disk, 0); err != nil {
		t.Fatal(err)
	}
	changes := filepath.Join(dir, "etc")
	if err := errors.Join(os.MkdirAll(filepath.Join(changes, "upper/a"), 0o755), os.WriteFile(filepath.Join(changes, "state.json"), nil, 0),
		os.Chmod(changes, 0o555)); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(changes, 0o755)
	for _, args := range [][]string{
		{"status", "--disk", disk}, {"mark-good", "--disk", disk}, {"apply", "oci:/nonexistent", "--disk", disk},
		{"etc", "diff", "--dir", changes}, {"etc", "revert", "a", "--dir", changes}, {"etc", "accept", "a", "--dir", changes},
	} {
		cmd := osexec.Command(prog, args...)
		cmd.Dir, cmd.Env = "/", append(os.Environ(), runMain+"=1")
		if os.Getuid() == 0 {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		}
		var stderr strings.Builder
		cmd.Stderr = &stderr
		if err := cmd.Run(); cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "permission denied (root is needed)") {
			t.Errorf("%s: exit code %d, stderr %q; want 1 and that root is needed", args[0], code, stderr.String())
		}
	}
}
