package qemutests

import (
	"bytes"
	"io"
	"os"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/logwrites"
)

// log opens the log of a guest that may be running: it ends with the last flush.
func (d *device) log(file string) *logwrites.Reader {
	d.t.Helper()
	f, err := os.Open(file)
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		d.t.Fatal(err)
	}
	r, err := logwrites.NewReader(f, st.Size())
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

// feed gives a log's writes and flushes to a recorder. A discard is nothing:
// QEMU's disk ignores it, as a disk may.
func (d *device) feed(rec *blockdevtest.Recorder, file string, marks map[int]string) {
	d.t.Helper()
	log := d.log(file)
	for i := 0; ; i++ {
		if name := marks[i]; name != "" {
			rec.Mark(name)
		}
		e, err := log.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = give(rec, e)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
	d.t.Logf("%d entries: %d writes, %d syncs", log.Entries(), rec.Writes(), rec.Syncs())
}

func give(rec *blockdevtest.Recorder, e logwrites.Entry) error {
	if e.Flags.Has(logwrites.Mark) || e.Flags.Has(logwrites.Discard) {
		return nil
	}
	if e.Flags.Has(logwrites.Flush) {
		if err := rec.Sync(); err != nil {
			return err
		}
	}
	switch {
	case e.Len == 0:
		return nil
	case len(bytes.TrimLeft(e.Data, "\x00")) == 0:
		if err := rec.Zero(e.Off, e.Len); err != nil {
			return err
		}
	default:
		if _, err := rec.WriteAt(e.Data, e.Off); err != nil {
			return err
		}
	}
	if e.Flags.Has(logwrites.FUA) { // which QEMU does by a flush of its own
		return rec.Sync()
	}
	return nil
}

// wantSame compares all that was logged with what the guest's disk holds.
func (d *device) wantSame(rec *blockdevtest.Recorder) {
	d.t.Helper()
	dev, err := blockdev.Open(d.disk, blockdev.ReadOnly)
	if err != nil {
		d.t.Fatal(err)
	}
	defer dev.Close()
	d.eachDifference(rec, dev, func(off int64, _ []byte) {
		d.t.Fatalf("the log and the guest's disk differ at byte %d", off)
	})
}

// eachDifference calls do with each piece of a that b has otherwise.
func (d *device) eachDifference(a, b blockdev.Device, do func(off int64, data []byte)) {
	d.t.Helper()
	const piece = 64 << 10
	pa, pb := make([]byte, piece), make([]byte, piece)
	for off := int64(0); off < a.Size(); off += piece {
		n := min(piece, a.Size()-off)
		for dev, p := range map[blockdev.Device][]byte{a: pa, b: pb} {
			if _, err := dev.ReadAt(p[:n], off); err != nil && err != io.EOF {
				d.t.Fatal(err)
			}
		}
		if !bytes.Equal(pa[:n], pb[:n]) {
			do(off, pa[:n])
		}
	}
}

// put writes to a file what a state has otherwise than the disk before.
func (d *device) put(file string, img, before blockdev.Device) {
	d.t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	d.eachDifference(img, before, func(off int64, data []byte) {
		if _, err := f.WriteAt(data, off); err != nil {
			d.t.Fatal(err)
		}
	})
}
