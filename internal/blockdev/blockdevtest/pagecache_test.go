package blockdevtest_test

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

func TestPageCacheIsADevice(t *testing.T) {
	blockdevtest.TestDevice(t, blockdevtest.NewPageCache(blockdev.NewMemory(make([]byte, 32<<10))))
}

// What a failed sync was to write is there to be read, is on the medium never,
// and gone when the cache is dropped.
func TestPageCacheAfterAFailedSync(t *testing.T) {
	const page = 8 // sectors
	medium := blockdev.NewMemory(bytes.Repeat([]byte{'.'}, 3*page*sector))
	c := blockdevtest.NewPageCache(blockdevtest.Inject(medium, blockdevtest.Faults{Write: 2}))
	check := func(when, cached, durable string) {
		t.Helper()
		for _, d := range []struct {
			name string
			dev  blockdev.Device
			want string
		}{{"cache", c, cached}, {"medium", medium, durable}} {
			s := show(t, d.dev)
			if got := s[:1] + s[page:page+1] + s[2*page:2*page+1]; got != d.want {
				t.Errorf("%s the %s holds %s; want %s", when, d.name, got, d.want)
			}
		}
	}
	for i, letter := range []byte("abc") {
		write(t, c, i*page, 1, letter)
	}
	check("before the sync", "abc", "...")
	if err := c.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync() = %v; want EIO", err)
	}
	check("after it", "abc", "a.c")
	if err := c.Sync(); err != nil {
		t.Errorf("second Sync() = %v; want nil", err)
	}
	check("after the second one", "abc", "a.c")
	write(t, c, 2*page, 1, 'd')
	if err := c.Invalidate(0, c.Size()); err != nil {
		t.Fatal(err)
	}
	check("after dropping what is clean", "a.d", "a.c")
	c.Lose()
	if err := c.Sync(); err != nil {
		t.Errorf("Sync() of nothing = %v; want nil", err)
	}
	check("after all was lost", "a.d", "a.c")
}

func TestInjectAny(t *testing.T) {
	m := blockdev.NewMemory(bytes.Repeat([]byte{'.'}, 4*sector))
	hits := 0
	d := blockdevtest.Inject(m, blockdevtest.Faults{Any: 3, AnyErr: syscall.ENXIO, Onwards: true, OnHit: func() { hits++ }})
	write(t, d, 0, 1, 'a')
	if err := d.Sync(); err != nil || d.Hit() {
		t.Errorf("second operation: Sync() = %v, Hit() = %v; want nil, false", err, d.Hit())
	}
	for range 2 {
		if _, err := d.ReadAt(make([]byte, 1), 0); err != syscall.ENXIO {
			t.Errorf("ReadAt = %v; want ENXIO", err)
		}
	}
	if err := d.Sync(); err != syscall.ENXIO || !d.Hit() || hits != 3 {
		t.Errorf("Sync() = %v, Hit() = %v, %d calls of OnHit; want ENXIO, true, 3", err, d.Hit(), hits)
	}
}
