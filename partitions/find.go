package partitions

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
)

var (
	// ErrNoDisk is wrapped when no boot disk is there; it may yet appear.
	ErrNoDisk = errors.New("no boot disk found")
	// ErrAmbiguous is wrapped when several disks could be the boot disk.
	ErrAmbiguous = errors.New("several disks could be the boot disk")
)

// A Candidate is a whole disk that may be the one this system boots from.
type Candidate struct {
	Name string // for people and for /dev: "vda"
	// Open opens the disk for reading. FindBootDisk closes what it returns
	// if that is an io.Closer.
	Open func() (blockdev.Device, error)
}

// A Hint says which disk booted. Either GUID may be empty and may be in any
// case.
type Hint struct {
	// Loader is the partition that the boot loader was started from
	// (the EFI variable LoaderDevicePartUUID).
	Loader string
	// DiskPartUUID is any partition of the boot disk (abupdate.disk= on the
	// kernel command line).
	DiskPartUUID string
}

// ListDisks lists the disks that the kernel knows, in the order of their
// names. sys is /sys, dev is where the device nodes are ("/dev").
func ListDisks(sys fs.FS, dev string) ([]Candidate, error) {
	entries, err := fs.ReadDir(sys, "class/block")
	if err != nil {
		return nil, fmt.Errorf("listing disks: %w", err)
	}
	var list []Candidate
	for _, e := range entries {
		if !isDisk(sys, e.Name()) {
			continue
		}
		// The kernel writes a slash in a device's name as '!'.
		node := path.Join(dev, strings.ReplaceAll(e.Name(), "!", "/"))
		list = append(list, Candidate{e.Name(), func() (blockdev.Device, error) {
			return blockdev.Open(node, blockdev.ReadOnly)
		}})
	}
	return list, nil
}

// isDisk says whether a block device is a whole disk with a medium, not a
// partition and not something stacked on or faked by software.
func isDisk(sys fs.FS, name string) bool {
	for _, prefix := range []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd"} {
		rest, ok := strings.CutPrefix(name, prefix)
		if _, err := strconv.Atoi(rest); ok && err == nil {
			return false
		}
	}
	if _, err := fs.Stat(sys, path.Join("class/block", name, "partition")); err == nil {
		return false
	}
	size, err := fs.ReadFile(sys, path.Join("class/block", name, "size"))
	return err == nil && strings.TrimSpace(string(size)) != "0"
}

// FindBootDisk picks the disk that this system boots from: the one that holds
// the loader's partition, else the one that holds the partition named on the
// command line, else the only one with an abupdate layout. It reads partition
// tables and nothing else, and never guesses: when a rule fits several disks
// the error wraps ErrAmbiguous and names them, and when the command line
// names a partition that is not there the error wraps ErrNoDisk.
func FindBootDisk(list []Candidate, hint Hint) (Candidate, error) {
	var ours []found
	var notes []string
	for _, c := range list {
		parts, err := inspect(c)
		if err == nil {
			ours = append(ours, found{c, parts})
		} else if !errors.Is(err, ErrNoLayout) {
			notes = append(notes, fmt.Sprintf("%s: %v", c.Name, err))
		}
	}
	// The loader may sit on a disk of its own, without a layout: then the
	// next rule counts.
	if c, err := pick(holding(ours, hint.Loader), "holds the partition that the firmware booted, "+hint.Loader, nil); err == nil || errors.Is(err, ErrAmbiguous) {
		return c, err
	}
	if hint.DiskPartUUID != "" {
		return pick(holding(ours, hint.DiskPartUUID), "holds partition "+hint.DiskPartUUID, notes)
	}
	return pick(ours, "has an abupdate layout", notes)
}

type found struct {
	Candidate
	parts []Partition
}

func inspect(c Candidate) ([]Partition, error) {
	dev, err := c.Open()
	if err != nil {
		return nil, err
	}
	if cl, ok := dev.(io.Closer); ok {
		defer cl.Close()
	}
	d, err := Open(dev)
	if err != nil {
		return nil, err
	}
	return d.Partitions(), nil
}

func holding(list []found, partUUID string) []found {
	return slices.DeleteFunc(slices.Clone(list), func(f found) bool {
		return !slices.ContainsFunc(f.parts, func(p Partition) bool { return equalGUID(partUUID, p.GUID) })
	})
}

func pick(list []found, rule string, notes []string) (Candidate, error) {
	if len(list) == 1 {
		return list[0].Candidate, nil
	}
	if len(list) == 0 {
		note := ""
		if len(notes) > 0 {
			note = " (" + strings.Join(notes, "; ") + ")"
		}
		return Candidate{}, fault.Errorf(fault.Usage, "%w: none %s%s", ErrNoDisk, rule, note)
	}
	names := make([]string, len(list))
	for i, f := range list {
		names[i] = f.Name
	}
	return Candidate{}, fault.Errorf(fault.Refused, "%w: each of %s %s", ErrAmbiguous, strings.Join(names, ", "), rule)
}
