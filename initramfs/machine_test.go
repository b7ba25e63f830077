package initramfs_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/initramfs"
)

func TestRunReportsHowAProgramEnds(t *testing.T) {
	m := initramfs.NewMachine()
	for _, tt := range []struct {
		script string
		exit   int
		output string
		err    string
	}{
		{"echo out; echo err >&2", 0, "out\nerr\n", ""},
		{"exit 4", 4, "", ""},
		{"kill -9 $$", 0, "", "signal: killed"},
		{"read line; echo got $line; exit 7", 7, "got\n", ""},
		{"sleep 100", 0, "", "no end after 200ms"},
	} {
		start := time.Now()
		res, err := m.Run(initramfs.Command{Root: "/", Path: "/bin/sh", Args: []string{"-c", tt.script}, Timeout: 200 * time.Millisecond})
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %v; want %q", tt.script, err, tt.err)
		}
		if res.Exit != tt.exit || res.Output != tt.output {
			t.Errorf("%s: exit %d, output %q; want %d, %q", tt.script, res.Exit, res.Output, tt.exit, tt.output)
		}
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("%s: took %v", tt.script, d)
		}
	}
	if _, err := m.Run(initramfs.Command{Root: "/", Path: "/nowhere/mkfs", Timeout: time.Second}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v; want that it does not exist", err)
	}
	res, err := m.Run(initramfs.Command{Root: "/", Path: "/bin/sh", Args: []string{"-c", "yes 0123456 | head -c 100000; echo end"}, Timeout: time.Minute})
	if err != nil || len(res.Output) > 1024 || !strings.HasSuffix(res.Output, "\nend\n") {
		t.Errorf("a long output: %d bytes, %v; want the end of it", len(res.Output), err)
	}
}

// pty opens a pseudo terminal: its far end and the path of the terminal.
func pty(t *testing.T) (far *os.File, path string) {
	t.Helper()
	far, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	rc, err := far.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var unlock, number error
	err = rc.Control(func(fd uintptr) {
		unlock = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0)
		n, number = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
	})
	if err := errors.Join(err, unlock, number); err != nil {
		t.Fatal(err)
	}
	return far, fmt.Sprintf("/dev/pts/%d", n)
}

func termios(t *testing.T, path string) unix.Termios {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tio, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *tio
}

func TestConsoles(t *testing.T) {
	far1, path1 := pty(t)
	far2, path2 := pty(t)
	before := termios(t, path1)
	c, closeAll := initramfs.OpenConsoles(path1, "/dev/nowhere", path2)
	if !c.Interactive() {
		t.Error("Interactive() = false on two terminals")
	}
	if key, ok := c.ReadKey(10 * time.Millisecond); ok {
		t.Errorf("ReadKey() = %q; nobody typed", key)
	}
	for _, far := range []*os.File{far1, far2} {
		if _, err := far.WriteString("m"); err != nil { // no Enter
			t.Fatal(err)
		}
		if key, ok := c.ReadKey(10 * time.Second); key != 'm' || !ok {
			t.Errorf("ReadKey() = %q, %v; want m", key, ok)
		}
	}
	fmt.Fprint(c, "hello\r\n")
	for _, far := range []*os.File{far1, far2} {
		got := make([]byte, 7)
		if _, err := io.ReadFull(far, got); err != nil || string(got) != "hello\r\n" {
			t.Errorf("console shows %q, %v; want hello, and no echo of the key", got, err)
		}
	}
	closeAll()
	if got := termios(t, path1); got != before {
		t.Errorf("terminal settings = %+v; want them given back, %+v", got, before)
	}
}

func TestConsoleOnAFileIsNotInteractive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, closeAll := initramfs.OpenConsoles(path)
	defer closeAll()
	if c.Interactive() {
		t.Error("Interactive() = true on a file")
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Errorf("Write() = %v", err)
	}
}

func TestRemoveAll(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	image{"init": "#!", "a/b/c/d": "x", "lib": "-> " + filepath.Dir(outside), "a/empty/": ""}.put(t, dir)
	if err := initramfs.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v; want nothing", left, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("what a link points at: %v; want it untouched", err)
	}
}

func TestRandomAndClock(t *testing.T) {
	m := initramfs.NewMachine()
	var a, b [16]byte
	if err := errors.Join(m.Random(a[:]), m.Random(b[:])); err != nil || a == b {
		t.Errorf("Random() = %x, then %x, %v; want two IDs", a, b, err)
	}
	start := m.Uptime()
	m.Sleep(30 * time.Millisecond)
	if d := m.Uptime() - start; d < 30*time.Millisecond || d > time.Minute {
		t.Errorf("the clock went on by %v in 30 ms", d)
	}
	if m.Release() == "" {
		t.Error("Release() is empty")
	}
}
