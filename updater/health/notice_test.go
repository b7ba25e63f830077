package health_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/updater/health"
)

// listen returns what arrives at a socket below root.
func listen(t *testing.T, root, name string) func() string {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func() string {
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if err != nil {
			t.Error(err)
		}
		return string(b[:n])
	}
}

// shortDir is a folder whose name leaves room for a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ab")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

var message = health.Message{ID: health.IDConfirmed, Priority: health.Notice, Text: "slot b is confirmed",
	Fields: map[string]string{"ABUPDATE_VERSION": "2", "ABUPDATE_SLOT": "b"}}

func TestJournal(t *testing.T) {
	root := shortDir(t)
	got := listen(t, root, "run/systemd/journal/socket")
	if err := (health.Log{Root: root}).Send(message); err != nil {
		t.Fatal(err)
	}
	want := "MESSAGE=slot b is confirmed\nMESSAGE_ID=" + health.IDConfirmed + "\nPRIORITY=5\nSYSLOG_IDENTIFIER=abupdate\nABUPDATE_SLOT=b\nABUPDATE_VERSION=2\n"
	if text := got(); text != want {
		t.Errorf("the journal got %q; want %q", text, want)
	}
	m := message
	m.Text = "two\nlines"
	if err := (health.Log{Root: root}).Send(m); err != nil {
		t.Fatal(err)
	}
	if text, want := got(), "MESSAGE\n\x09\x00\x00\x00\x00\x00\x00\x00two\nlines\nMESSAGE_ID="; !strings.HasPrefix(text, want) {
		t.Errorf("the journal got %q; want %q...", text, want)
	}
}

func TestSyslog(t *testing.T) {
	root := shortDir(t)
	if err := (health.Log{Root: root}).Send(message); err != nil {
		t.Errorf("Send() without a log = %v; want nil", err)
	}
	got := listen(t, root, "dev/log")
	if err := (health.Log{Root: root}).Send(message); err != nil {
		t.Fatal(err)
	}
	if text, want := got(), "<13>abupdate: slot b is confirmed"; text != want {
		t.Errorf("syslog got %q; want %q", text, want)
	}
}

// The IDs are in scripts of administrators.
func TestMessageIDs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/health.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{health.IDConfirmed, health.IDCheckFailed, health.IDFallback} {
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || !strings.Contains(string(doc), id) {
			t.Errorf("%q is not 32 hexadecimal digits, or not in docs/health.md", id)
		}
	}
}

func TestMotd(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, health.MotdPath)
	for _, line := range []string{"", "a fallback", "another", "", ""} {
		if err := health.Motd(root, line); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(path)
		if line == "" && !os.IsNotExist(err) || line != "" && string(b) != line+"\n" {
			t.Errorf("after %q the file has %q, %v", line, b, err)
		}
	}
}
