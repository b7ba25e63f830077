package blockdev_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// flagsOf are the kernel's flags of the memory that b lies in, and whether all
// of the huge page that b begins is in it.
func flagsOf(t *testing.T, b []byte) (flags string, whole bool) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at, inside := uintptr(unsafe.Pointer(unsafe.SliceData(b))), false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			inside = from <= at && at < to
			whole = inside && at+2<<20 <= to
		}
		if rest, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && inside {
			return rest, whole
		}
	}
	t.Fatalf("no memory at %x", at)
	return "", false
}

func TestBuffer(t *testing.T) {
	_, err := os.Stat("/sys/kernel/mm/transparent_hugepage")
	huge := err == nil
	for _, n := range []int{1, 4096, 1<<20 - 1, 1 << 20, 2 << 20, 3<<20 + 4096} {
		b := blockdev.NewBuffer(n)
		room := b.Bytes()
		if len(room) != n || cap(room) != n || !bytes.Equal(room, make([]byte, n)) {
			t.Errorf("NewBuffer(%d) has %d bytes, room for %d; want zeros", n, len(room), cap(room))
		}
		if n >= 1<<20 {
			flags, whole := flagsOf(t, room)
			if huge && !strings.Contains(flags, " hg") || !whole || uintptr(unsafe.Pointer(unsafe.SliceData(room)))%(2<<20) != 0 {
				t.Errorf("NewBuffer(%d) lies at %p, flags%s, a whole huge page: %v", n, room, flags, whole)
			}
		}
		for i := range room {
			room[i] = 0xff
		}
		b.Free()
		if b.Bytes() != nil {
			t.Errorf("a freed buffer of %d bytes still has %d", n, len(b.Bytes()))
		}
		b.Free() // once more is nothing
	}
}
