package demo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestTimeline(t *testing.T) {
	var out bytes.Buffer
	tl := newTimeline(&out)
	if err := tl.step("make a disk", func() error {
		tl.note("$ abupdate image\nroot hash %s", "2aa2")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("no such image")
	if err := tl.step("boot", func() error { return broken }); err != broken {
		t.Errorf("step() = %v; want the function's own error", err)
	}
	if err := tl.step("again", func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{"0:00 ✓ make a disk 0:00", "$ abupdate image", "root hash 2aa2", "0:00 ✗ boot 0:00", "0:00 ✓ again 0:00"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("timeline mismatch (-want +got):\n%s", d)
	}
}

// The line under way must end at the terminal's edge, 80 columns where nobody
// says otherwise.
func TestTimelineLive(t *testing.T) {
	tl := newTimeline(io.Discard)
	tl.title, tl.start = "build", tl.began
	tl.note("a note")
	if got := tl.live(); !strings.Contains(got, "build") || len([]rune(got)) != 79 {
		t.Errorf("live() = %q, %d columns; want 79", got, len([]rune(got)))
	}
	tl.title = ""
	if _, err := tl.Write([]byte("I: first\r\nI: extracting\n")); err != nil {
		t.Fatal(err)
	}
	if got, want := tl.doing, "extracting"; got != want {
		t.Errorf("after two lines doing = %q; want %q", got, want)
	}
	if _, err := tl.Write([]byte("\n")); err != nil || tl.doing != "extracting" {
		t.Errorf("after an empty line doing = %q, %v; want what it was", tl.doing, err)
	}
}

func TestClock(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0:00"},
		{400 * time.Millisecond, "0:00"},
		{59600 * time.Millisecond, "1:00"},
		{83 * time.Second, "1:23"},
		{2 * time.Hour, "120:00"},
	}
	for _, tt := range tests {
		if got := clock(tt.d); got != tt.want {
			t.Errorf("clock(%v) = %q; want %q", tt.d, got, tt.want)
		}
	}
}

func TestPlain(t *testing.T) {
	const console = "\x1b[2J\x1b[01;01H[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mssh.service\x1b[0m.\r\n\x1b[K\x1b[?2004hroot@device:~# "
	if got, want := plain(console), "[  OK  ] Started ssh.service.\nroot@device:~# "; got != want {
		t.Errorf("plain() = %q; want %q", got, want)
	}
}

func TestTailFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte("one\r\n\x1b[1mtwo\x1b[0m\r\nthree\r\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := tailFile(file, 2), "two\nthree"; got != want {
		t.Errorf("tailFile(2) = %q; want %q", got, want)
	}
	if got, want := tailFile(file, 9), "one\ntwo\nthree"; got != want {
		t.Errorf("tailFile(9) = %q; want %q", got, want)
	}
}

// The registry must serve what was published last under the tag, and be gone
// with its files after close.
func TestRegistry(t *testing.T) {
	dir := t.TempDir()
	r, err := startRegistry(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := random.Image(1000, 2)
	if err != nil {
		t.Fatal(err)
	}
	second, err := random.Image(1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.publish(t.Context(), first, "1", stable), r.publish(t.Context(), second, "2", stable)); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(r.addr+"/"+repository+":"+stable, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	desc, err := remote.Get(ref)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := second.Digest(); desc.Digest != want {
		t.Errorf("digest of %s = %v; want %v", stable, desc.Digest, want)
	}
	if err := r.close(); err != nil {
		t.Errorf("close() = %v", err)
	}
	if _, err := http.Get("http://" + r.addr + "/v2/"); err == nil {
		t.Error("the registry answers after close")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left after close: %v, %v; want nothing", left, err)
	}
}

func TestRunWithoutPrograms(t *testing.T) {
	err := Run(context.Background(), Options{KeepDir: t.TempDir(), CacheDir: t.TempDir(), BinDir: t.TempDir(), Out: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("Run() = %v; want an error that says what to run", err)
	}
}

func TestFollow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console.log")
	if err := os.WriteFile(file, []byte("first\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	d := &demo{opt: Options{Out: &out}, tl: newTimeline(&out)}
	d.follow(file)
	time.Sleep(500 * time.Millisecond)
	d.close()
	if got, want := out.String(), "first\n"; got != want {
		t.Errorf("follow() showed %q; want %q", got, want)
	}
}
