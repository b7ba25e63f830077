package squashfs_test

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
)

// crowd calls add with count entries, in the order in which unsquashfs lists
// them: a fifth of them in one directory, some with the longest names.
func crowd(count int, add func(path string, i int)) {
	for i := range count / 5 {
		add(fmt.Sprintf("flat/entry-%07d", i), i)
	}
	for i := range count / 50 {
		add(fmt.Sprintf("long/%s-%07d", strings.Repeat("n", 247), i), i)
	}
	for i := count/5 + count/50; i < count; i++ {
		add(fmt.Sprintf("usr/share/%04d/entry-%07d", i/1000, i), i)
	}
}

// TestMillionEntries lists an image of that many and holds its making to a
// heap that a small device has.
func TestMillionEntries(t *testing.T) {
	count := 1_000_000
	if raceDetector {
		count = 200_000
	}
	text, base := int64(0), heap() // text: bytes of names
	sink := &measuring{every: 1 << 20}
	name, _ := sparseImage(t, 0, squashfs.Options{}, func(w *creator) error {
		var failed error
		crowd(count, func(path string, i int) {
			e := fstree.Entry{Path: path, Type: fstree.Regular, Mode: 0o644, UID: uint32(i % 7), ModTime: 1_700_000_000 + int64(i)}
			content := ""
			if i%10 == 0 {
				content = path
			}
			e.Size = int64(len(content))
			text += int64(len(path) - strings.LastIndexByte(path, '/') - 1)
			if err := w.add(e, strings.NewReader(content)); err != nil && failed == nil {
				failed = err
			}
		})
		return failed
	}, sink)
	each := (sink.peak - base - text - squashfs.MemoryBound(squashfs.Options{})) / int64(count)
	t.Logf("the heap grew by %d MiB: %d bytes for each of %d entries besides names and blocks", (sink.peak-base)>>20, each, count)
	if each > 110 {
		t.Errorf("an entry takes %d bytes besides its name; want at most 110", each)
	}
	wantListing(t, name, count)
}

// wantListing compares what unsquashfs lists, line by line.
func wantListing(t *testing.T, image string, count int) {
	t.Helper()
	cmd := exec.Command("unsquashfs", "-l", image)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install the Debian package squashfs-tools", err)
	}
	lines, wrong := bufio.NewScanner(pipe), 0
	next := func() string {
		for lines.Scan() {
			if path, ok := strings.CutPrefix(lines.Text(), "squashfs-root/"); ok && strings.Contains(path, "-") {
				return path
			}
		}
		return ""
	}
	crowd(count, func(path string, _ int) {
		if got := next(); got != path && wrong < 10 {
			wrong++
			t.Errorf("unsquashfs lists %q; want %q", got, path)
		}
	})
	if got := next(); got != "" {
		t.Errorf("unsquashfs lists %q, which was not put in", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %v", cmd, err)
	}
}
