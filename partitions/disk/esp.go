package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/diskfs/go-diskfs/filesystem/fat32"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
)

// espLabel is the volume label of an ESP's file system.
const espLabel = "ESP"

// WriteESP makes a new FAT32 file system on the ESP and puts the files into
// it; keys are paths like "EFI/BOOT/BOOTX64.EFI". It is for an ESP that
// nothing boots from yet: it is not safe against a cut, and a live ESP is
// changed through the kernel. What was written is read back.
func WriteESP(d *partitions.Disk, files map[string][]byte) error {
	sec, err := d.Section(partitions.LabelESP)
	if err != nil {
		return err
	}
	if err := checkESP(sec.Size(), d.SectorSize(), files); err != nil {
		return err
	}
	st := &storage{dev: sec}
	f, err := fat32.Create(st, sec.Size(), 0, d.SectorSize(), espLabel, true)
	if err != nil {
		return fmt.Errorf("making the ESP's file system: %w", err)
	}
	made := map[string]bool{".": true}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := makeParents(f, path.Dir(name), made); err != nil {
			return fmt.Errorf("writing to the ESP: %w", err)
		}
		if err := writeFile(f, name, files[name]); err != nil {
			return fmt.Errorf("writing %s to the ESP: %w", name, err)
		}
	}
	if err := finishFAT(sec); err != nil {
		return fmt.Errorf("writing the ESP: %w", err)
	}
	if err := errors.Join(st.err, sec.Sync(), blockdev.Invalidate(sec, 0, sec.Size())); err != nil {
		return fmt.Errorf("writing the ESP: %w", err)
	}
	for name, want := range files {
		got, err := ReadESP(d, name)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fault.Errorf(fault.Verify, "reading %s back from the ESP: it differs from what was written", name)
		}
	}
	return nil
}

// checkESP refuses what can not become a file, and what does not fit. The
// allowance for directories and rounding is generous: it is about saying so
// before the first byte.
func checkESP(size, sector int64, files map[string][]byte) error {
	need := int64(0)
	for name, b := range files {
		if !fs.ValidPath(name) || name == "." || strings.ContainsAny(name, "\\:*?\"<>|\x00") {
			return fault.Errorf(fault.Usage, "writing to the ESP: %q is no path for it", name)
		}
		need += (int64(len(b))+65535)/65536*65536 + 65536
	}
	if room := size - 40*sector - size/60; need > room {
		return fault.Errorf(fault.NoRoom, "writing to the ESP: the files need %d bytes, it has room for %d", need, max(0, room))
	}
	return nil
}

func makeParents(f *fat32.FileSystem, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := makeParents(f, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	if err := f.Mkdir(dir); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	return nil
}

func writeFile(f *fat32.FileSystem, name string, content []byte) error {
	file, err := f.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	// All at once: a write per cluster would rewrite the FAT each time.
	_, err = file.Write(content)
	return errors.Join(err, file.Close())
}
