package logwrites_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/logwrites"
)

// A log is one in the making.
type log struct {
	b      []byte
	sector int
}

func newLog(sector int) *log {
	l := &log{b: make([]byte, sector), sector: sector}
	l.head(0x6a736677736872, 1, 0, uint32(sector))
	return l
}

func (l *log) head(magic, version, entries uint64, sector uint32) *log {
	le := binary.LittleEndian
	le.PutUint64(l.b, magic)
	le.PutUint64(l.b[8:], version)
	le.PutUint64(l.b[16:], entries)
	le.PutUint32(l.b[24:], sector)
	return l
}

// add appends an entry, what is in its sector, and what comes after it.
func (l *log) add(sector, sectors uint64, flags logwrites.Flags, inHead string, data []byte) *log {
	e := make([]byte, l.sector)
	for i, v := range []uint64{sector, sectors, uint64(flags), uint64(len(inHead))} {
		binary.LittleEndian.PutUint64(e[8*i:], v)
	}
	copy(e[32:], inHead)
	l.b = append(append(l.b, e...), data...)
	binary.LittleEndian.PutUint64(l.b[16:], binary.LittleEndian.Uint64(l.b[16:])+1)
	return l
}

func read(b []byte) ([]logwrites.Entry, error) {
	r, err := logwrites.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	var all []logwrites.Entry
	for {
		e, err := r.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		e.Data = bytes.Clone(e.Data)
		all = append(all, e)
	}
}

func TestRead(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		data := bytes.Repeat([]byte("0123456789abcdef"), 3*sector/16)
		l := newLog(sector).
			add(7, 3, 0, "", data).
			add(0, 0, logwrites.Flush, "", nil).
			add(9, 1<<30, logwrites.Discard, "", nil).
			add(0, 0, logwrites.Mark, "here", nil).
			add(1, 1, logwrites.FUA|logwrites.Flush, "", data[:sector])
		n := int64(sector)
		want := []logwrites.Entry{
			{Off: 7 * n, Len: 3 * n, Data: data},
			{Flags: logwrites.Flush},
			{Flags: logwrites.Discard, Off: 9 * n, Len: n << 30},
			{Flags: logwrites.Mark, Data: []byte("here")},
			{Flags: logwrites.FUA | logwrites.Flush, Off: n, Len: n, Data: data[:sector]},
		}
		got, err := read(l.b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("sectors of %d bytes (-want +got):\n%s", sector, d)
		}
	}
}

func TestReadDamaged(t *testing.T) {
	const good = 0x6a736677736872
	for _, tt := range []struct {
		name string
		log  []byte
		want error
	}{
		{"empty", nil, io.ErrUnexpectedEOF},
		{"short head", newLog(512).b[:20], io.ErrUnexpectedEOF},
		{"magic", newLog(512).head(good+1, 1, 0, 512).b, logwrites.ErrFormat},
		{"version", newLog(512).head(good, 2, 0, 512).b, logwrites.ErrFormat},
		{"no sector size", newLog(512).head(good, 1, 0, 0).b, logwrites.ErrFormat},
		{"odd sector size", newLog(512).head(good, 1, 0, 513).b, logwrites.ErrFormat},
		{"huge sector size", newLog(512).head(good, 1, 0, 1<<31).b, logwrites.ErrFormat},
		{"more entries than bytes", newLog(512).head(good, 1, 1<<63, 512).b, logwrites.ErrFormat},
		{"an entry that is missing", newLog(512).head(good, 1, 1, 512).b, io.ErrUnexpectedEOF},
		{"cut in the entry", newLog(512).add(0, 0, logwrites.Flush, "", nil).b[:600], io.ErrUnexpectedEOF},
		{"cut in the data", newLog(512).add(0, 2, 0, "", make([]byte, 1000)).b, io.ErrUnexpectedEOF},
		{"data that the log has no room for", newLog(512).add(0, 1<<20, 0, "", nil).b, io.ErrUnexpectedEOF},
		{"a write without end", newLog(512).add(0, 1<<40, 0, "", nil).b, logwrites.ErrFormat},
		{"sectors that overflow", newLog(512).add(1<<63, 1<<63, 0, "", nil).b, logwrites.ErrFormat},
		{"a place that overflows", newLog(512).add(1<<54, 1, 0, "", nil).b, logwrites.ErrFormat},
		{"unknown flags", newLog(512).add(0, 0, 1<<5, "", nil).b, logwrites.ErrFormat},
		{"a name longer than its sector", newLog(512).add(0, 0, logwrites.Mark, string(make([]byte, 481)), nil).b, logwrites.ErrFormat},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := read(tt.log); !errors.Is(err, tt.want) {
				t.Errorf("got error %v; want %v", err, tt.want)
			}
		})
	}
}

// What QEMU writes is read as what was done.
func TestReadQEMU(t *testing.T) {
	dir := t.TempDir()
	disk, file := filepath.Join(dir, "disk"), filepath.Join(dir, "log")
	for name, size := range map[string]int64{disk: 1 << 20, file: 0} {
		if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, size)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("qemu-io", "-c", "write -P 7 64k 8k", "-c", "flush", "-c", "write -z 4k 4k", "-c", "write -f -P 9 0 512", "-c", "discard 32k 4k",
		"--image-opts", "driver=blklogwrites,log-sector-size=512,file.driver=file,file.filename="+disk+",log.driver=file,log.filename="+file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("qemu-io (Debian package qemu-utils): %v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	want := []logwrites.Entry{
		{Off: 64 << 10, Len: 8 << 10, Data: bytes.Repeat([]byte{7}, 8<<10)},
		{Flags: logwrites.Flush},
		{Off: 4 << 10, Len: 4 << 10, Data: make([]byte, 4<<10)},
		{Len: 512, Data: bytes.Repeat([]byte{9}, 512)},
		{Flags: logwrites.Flush}, // FUA, as QEMU does it
		{Flags: logwrites.Discard, Off: 32 << 10, Len: 4 << 10},
	}
	if d := cmp.Diff(want, got[:min(len(got), len(want))]); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, e := range got[min(len(got), len(want)):] {
		if e.Flags != logwrites.Flush { // closing flushes
			t.Errorf("got another entry %+v; want flushes only", e)
		}
	}
}

// FuzzRead: whatever a log says, reading ends, and takes no more memory than
// the log is long.
func FuzzRead(f *testing.F) {
	f.Add(newLog(512).add(7, 1, 0, "", make([]byte, 512)).add(0, 0, logwrites.Flush, "", nil).b)
	f.Add(newLog(4096).add(0, 0, logwrites.Mark, "here", nil).add(0, 1<<20, 0, "", nil).b)
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := read(b)
		total := 0
		for _, e := range all {
			total += len(e.Data)
			if e.Off < 0 || e.Len < 0 || e.Off+e.Len < 0 {
				t.Fatalf("entry at %d of %d bytes", e.Off, e.Len)
			}
		}
		if total > len(b) {
			t.Fatalf("%d bytes of data (error %v) in a log of %d", total, err, len(b))
		}
	})
}
