package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func put(t *testing.T, name, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestOSVersion(t *testing.T) {
	for text, want := range map[string]string{
		"ID=x\nVERSION_ID=\"12\"\n":           "12",
		"VERSION_ID=1\nIMAGE_VERSION=2.0-1\n": "2.0-1",
		"ID=x\n":                              "",
	} {
		if got := osVersion(put(t, filepath.Join(t.TempDir(), "os-release"), text)); got != want {
			t.Errorf("osVersion(%q) = %q; want %q", text, got, want)
		}
	}
	if got := osVersion("/nonexistent"); got != "" {
		t.Errorf("osVersion() of no file = %q; want nothing", got)
	}
}

func TestFindPort(t *testing.T) {
	sys := t.TempDir()
	put(t, sys+"/vport1p1/name", "org.qemu.guest_agent.0\n")
	if dev, err := findPort(sys); err == nil {
		t.Errorf("findPort() = %s without our port; want an error", dev)
	}
	put(t, sys+"/vport2p1/name", portName+"\n")
	if dev, err := findPort(sys); dev != "/dev/vport2p1" || err != nil {
		t.Errorf("findPort() = %s, %v; want /dev/vport2p1", dev, err)
	}
}

func TestNames(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/a", "1")
	put(t, dir+"/b", "2")
	var first, second bytes.Buffer
	if err := names(dir, &first); err != nil || !strings.HasPrefix(first.String(), "2 ") {
		t.Fatalf("names() = %q, %v; want 2 names", &first, err)
	}
	if err := os.Rename(dir+"/b", dir+"/c"); err != nil {
		t.Fatal(err)
	}
	if err := names(dir, &second); err != nil || second.String() == first.String() {
		t.Errorf("names() = %q, %v after a rename; want another digest", &second, err)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{nil, {"no-such-tool"}, {"cat"}, {"cat", "/nonexistent"}, {"mount", "a", "b"}} {
		if err := run(args); err == nil {
			t.Errorf("run(%q) = nil; want an error", args)
		}
	}
}
