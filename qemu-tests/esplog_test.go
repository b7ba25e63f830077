package qemutests

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/logwrites"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/qemu-tests/campaign/esp"
)

// A promise is what a file of the ESP holds from a mark on: one of these. The
// last one that was reached counts.
type promise struct {
	mark, file string
	may        []string
}

// An espLog is what the kernel's vfat gave to the ESP of a disk.
type espLog struct {
	d        *device
	before   string // copy of the disk
	part     partitions.Partition
	base     blockdev.Device        // the ESP from before
	rec      *blockdevtest.Recorder // of the ESP alone
	promises []promise
}

// newESPLog makes an empty one, of the disk as it is now.
func (d *device) newESPLog() *espLog {
	d.t.Helper()
	l := &espLog{d: d, before: filepath.Join(d.t.TempDir(), "before.img")}
	copyFile(d.t, d.disk, l.before)
	l.part, l.base = espOf(d.t, l.before)
	l.rec = blockdevtest.NewRecorder(l.base)
	return l
}

func espOf(t *testing.T, file string) (partitions.Partition, blockdev.Device) {
	t.Helper()
	dev, err := blockdev.Open(file, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	layout, err := partitions.Open(dev)
	if err != nil {
		t.Fatal(err)
	}
	part, _ := layout.Partition(partitions.LabelESP)
	sec, err := layout.Section(partitions.LabelESP)
	if err != nil {
		t.Fatal(err)
	}
	return part, sec
}

// readESP reads the ESP of the device, which nobody has mounted.
func (d *device) readESP() (partitions.Partition, *esp.FS) {
	d.t.Helper()
	part, sec := espOf(d.t, d.disk)
	f, err := esp.Read(sec)
	if err != nil {
		d.t.Fatal(err)
	}
	return part, f
}

// content is what a file holds before anything is logged.
func (l *espLog) content(name string) string {
	l.d.t.Helper()
	f, err := esp.Read(l.base)
	if err != nil {
		l.d.t.Fatal(err)
	}
	b, err := f.Content(name)
	if err != nil {
		l.d.t.Fatal(err)
	}
	return string(b)
}

// feed takes what a disk's log has of the ESP; a flush is one of the whole
// disk.
func (l *espLog) feed(file string, marks map[int]string) {
	l.d.t.Helper()
	log := l.d.log(file)
	for i := range log.Entries() + 1 {
		if name := marks[i]; name != "" {
			l.rec.Mark(name)
		}
		if i == log.Entries() {
			break
		}
		e, err := log.Next()
		if err != nil {
			l.d.t.Fatal(err)
		}
		if e.Off < l.part.Off || e.Off+e.Len > l.part.Off+l.part.Size {
			e = logwrites.Entry{Flags: e.Flags & (logwrites.Flush | logwrites.FUA)}
		}
		e.Off -= l.part.Off
		if err := give(l.rec, e); err != nil {
			l.d.t.Fatal(err)
		}
	}
	l.d.t.Logf("the ESP: %d writes, %d syncs", l.rec.Writes(), l.rec.Syncs())
}

// check reads a state, and says what of it breaks a promise.
func (l *espLog) check(img blockdev.Device, cut blockdevtest.Cut) (*esp.FS, error) {
	f, err := esp.Read(img)
	if err != nil {
		return nil, err
	}
	if len(f.Shared) > 0 { // to remove one of the files would take the other
		return nil, fmt.Errorf("%q", f.Shared)
	}
	reached := make(map[string]promise)
	for _, p := range l.promises {
		if cut.Reached(p.mark) {
			reached[p.file] = p
		}
	}
	for _, p := range reached {
		b, err := f.Content(p.file)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(p.may, string(b)) {
			return nil, fmt.Errorf("%s has %d bytes, %.8x...; want one of %d contents since %q", p.file, len(b), b, len(p.may), p.mark)
		}
	}
	return f, nil
}

// leftovers are what has no place on an ESP after an update to a selector.
func leftovers(f *esp.FS, keep ...string) (list []string) {
	for _, file := range f.Files {
		kept := file.Dir || slices.ContainsFunc(keep, func(k string) bool { return strings.EqualFold(k, file.Name) })
		if own := strings.HasPrefix(file.Name, "EFI/"); own && !kept || file.Broken != "" {
			list = append(list, file.Name+" "+file.Broken)
		}
	}
	return list
}

// rewind gives a disk, on which nobody has the ESP mounted, the ESP of a state.
func (l *espLog) rewind(file string, img blockdev.Device) {
	l.d.t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		l.d.t.Fatal(err)
	}
	defer f.Close()
	_, now := espOf(l.d.t, file)
	l.d.eachDifference(img, now, func(off int64, data []byte) {
		if _, err := f.WriteAt(data, l.part.Off+off); err != nil {
			l.d.t.Fatal(err)
		}
	})
}

// oracle lets others read a state: mtools find the same content in a file, and
// what fsck.fat repairs has it still, with nothing left to repair.
func (l *espLog) oracle(img *blockdevtest.Image, f *esp.FS, name string) {
	t := l.d.t
	t.Helper()
	file := filepath.Join(t.TempDir(), "esp")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(file)
	_, err = io.Copy(out, io.NewSectionReader(img, 0, img.Size()))
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	want, err := f.Content(name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := exec.Command("mcopy", "-n", "-i", file, "::"+name, "-").Output()
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("mcopy (Debian package mtools) reads %d bytes of %s, %v; want %d", len(got), name, err, len(want))
	}
	said, err := exec.Command("fsck.fat", "-a", file).CombinedOutput()
	if exit := new(exec.ExitError); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) { // 1: it repaired something
		t.Errorf("fsck.fat (Debian package dosfstools): %v\n%s", err, said)
	}
	if said, err := exec.Command("fsck.fat", "-n", file).CombinedOutput(); err != nil {
		t.Errorf("fsck.fat after its own repair: %v\n%s", err, said)
	}
	dev, err := blockdev.Open(file, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	repaired, err := esp.Read(dev)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := repaired.Content(name); err != nil || !bytes.Equal(b, want) || repaired.Dirty || repaired.Lost > 0 {
		t.Errorf("after fsck.fat: %s %v, dirty %t, %d clusters lost; want it as before, and a sound file system\n%s", name, err, repaired.Dirty, repaired.Lost, said)
	}
}

// A espTally counts states.
type espTally struct{ states, dirty, lost, partial, guests, checked int }

func (c *espTally) add(f *esp.FS) {
	c.states++
	if f.Dirty {
		c.dirty++
	}
	if f.Lost > 0 {
		c.lost++
	}
	if f.Partial() != "" {
		c.partial++
	}
}

func (c *espTally) String() string {
	return fmt.Sprintf("%d states: %d marked as mounted, %d with clusters that no file has, %d with a file in part; %d read by mtools and repaired by fsck.fat, %d taken further in a guest",
		c.states, c.dirty, c.lost, c.partial, c.checked, c.guests)
}
