package initramfs_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/initramfs"
)

// timerSlack is that of one thread, as the kernel prints it.
func timerSlack(t *testing.T, thread string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + thread + "/timerslack_ns")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// TestSettle gives the threads slack, and none of it to the program that
// follows: each service that the image's init starts would have it.
func TestSettle(t *testing.T) {
	runtime.LockOSThread() // ends with the goroutine
	own := strconv.Itoa(unix.Gettid())
	before := timerSlack(t, own)
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil || len(threads) < 2 {
		t.Fatalf("%d threads, %v", len(threads), err)
	}
	settle, unsettle := initramfs.SettleThread()
	settle()
	for _, thread := range threads {
		if got := timerSlack(t, thread.Name()); got != "10000000" {
			t.Errorf("thread %s has a slack of %s ns; want 10 ms", thread.Name(), got)
		}
	}
	unsettle()
	if got := timerSlack(t, own); got != before {
		t.Errorf("the thread that switches the root has a slack of %s ns; want %s", got, before)
	}
}
