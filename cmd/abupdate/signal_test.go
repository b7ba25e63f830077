package main

import (
	"bufio"
	"errors"
	"os"
	osexec "os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

const runMain = "ABUPDATE_TEST_RUN_MAIN"

// TestMain lets a test start this very program as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv(runMain) != "" {
		main()
	}
	code := m.Run()
	removeImages()
	os.Exit(code)
}

// Ctrl-C in the middle of writing, or the end of the terminal: exit code 130,
// one line, the old system boots, and the next apply finishes.
func TestInterruptedByASignal(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			// What is caught here is not ignored in what is started: nohup
			// may have started the tests.
			caught := make(chan os.Signal, 1)
			signal.Notify(caught, sig)
			defer signal.Stop(caught)
			interruptedBy(t, sig)
		})
	}
}

func interruptedBy(t *testing.T, signal os.Signal) {
	dir := ut.Layout(t, map[string]ut.Image{
		"v1": {Version: "1.0"},
		"v2": {Version: "2.0", Noise: 1_500_000},
	})
	for range 20 {
		disk := ut.Disk(t, "oci:"+dir+":v1")
		code, messages := interrupted(t, signal, "apply", "oci:"+dir+":v2", "--disk", disk, "--json")
		if code == 0 {
			continue // it was faster than the signal
		}
		if code != 130 || len(messages) != 1 || !strings.HasPrefix(messages[0], "abupdate: ") {
			t.Fatalf("exit code %d, messages %q; want 130 and one", code, messages)
		}
		checkInterrupted(t, disk)
		must(t, "apply", "oci:"+dir+":v2", "--disk", disk)
		must(t, "verify", "--disk", disk)
		return
	}
	t.Fatal("20 times the apply had ended before the signal came")
}

// What nohup starts goes on when the terminal ends.
func TestNohup(t *testing.T) {
	dir := ut.Layout(t, map[string]ut.Image{
		"v1": {Version: "1.0"},
		"v2": {Version: "2.0", Noise: 1_500_000},
	})
	disk := ut.Disk(t, "oci:"+dir+":v1")
	signal.Ignore(syscall.SIGHUP) // which a process hands on
	defer signal.Reset(syscall.SIGHUP)
	if code, messages := interrupted(t, syscall.SIGHUP, "apply", "oci:"+dir+":v2", "--disk", disk, "--json"); code != 0 || len(messages) > 0 {
		t.Errorf("exit code %d, messages %q; want 0 and none", code, messages)
	}
}

// interrupted runs a command and sends it one signal once it writes. It
// returns the exit code and what was on stderr besides progress.
func interrupted(t *testing.T, signal os.Signal, args ...string) (code int, messages []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(self, args...)
	cmd.Env = append(os.Environ(), runMain+"=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sent := false // a second signal would end the program at once
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if line := lines.Text(); !strings.HasPrefix(line, "{") {
			messages = append(messages, line)
		} else if strings.Contains(line, `"step":"write"`) && !sent {
			sent = true
			if err := cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), messages
}

func checkInterrupted(t *testing.T, disk string) {
	t.Helper()
	dev, err := blockdev.Open(disk, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if st := ut.State(t, dev); st.Active() != bootctl.SlotA || st.Slot(bootctl.SlotB).Status != bootctl.Writing {
		t.Errorf("slot %v boots next, b is %s; want a next, b being written", st.Active(), st.Slot(bootctl.SlotB).Status)
	}
}
