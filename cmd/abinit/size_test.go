package main_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The budget is in bytes, of the stripped binary. Whoever raises it says why.
func TestSizeBudget(t *testing.T) {
	raw, err := os.ReadFile("size-budget")
	if err != nil {
		t.Fatal(err)
	}
	budget, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "abinit")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	st, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("abinit has %d bytes of %d", st.Size(), budget)
	if st.Size() > budget {
		t.Errorf("abinit has %d bytes; the budget in cmd/abinit/size-budget is %d", st.Size(), budget)
	}
}

// Run by hand it says what it is for, and touches nothing.
func TestOnlyAsPID1(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "abinit")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(bin).CombinedOutput()
	if cmdExit(err) != 2 || !strings.Contains(string(out), "process 1 of an initramfs only") {
		t.Errorf("abinit: %v, %q; want exit 2 and what it is for", err, out)
	}
}

func cmdExit(err error) int {
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	return -1
}
