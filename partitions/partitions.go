// Package partitions finds the partitions of an abupdate disk and reads and
// writes slots. It is what the device needs, so it links nothing but the
// standard library and x/sys; making disks is package partitions/disk. The
// formats are described in docs/ondisk.md.
package partitions

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Labels of the partitions that abupdate uses.
const (
	LabelESP      = "esp"
	LabelState    = "abstate"
	LabelRootA    = "root-a"
	LabelRootB    = "root-b"
	LabelRecovery = "recovery"
	LabelVar      = "var"
)

// Partition type GUIDs, lower case. StateType is abupdate's own; the others
// are those of the UEFI and Discoverable Partitions specifications.
const (
	StateType        = "08c51d79-9c4a-4a5b-8018-67db734065ab"
	ESPType          = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	RootAMD64Type    = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"
	RootARM64Type    = "b921b045-1df0-41c3-af44-4c6f280d3fae"
	VarType          = "4d21b016-b534-45c2-a9fb-5c16e091fd2d"
	HomeType         = "933ac7e1-2eb4-4f13-b844-0e14e2aef915"
	SrvType          = "3b8f8425-20e0-4f3b-907f-1a25a76f98e8"
	LinuxGenericType = "0fc63daf-8483-4772-8e79-3d69d8477de4"
)

// Attribute bits that the Discoverable Partitions Specification gives to root
// partitions. Slots carry both: systemd's generator must not mount one.
const (
	AttrReadOnly = 1 << 60
	AttrNoAuto   = 1 << 63
)

var (
	// ErrNoLayout is wrapped when a disk has no abupdate layout.
	ErrNoLayout = errors.New("no abupdate layout")
	// ErrCorrupt is wrapped when bytes on a disk contradict themselves.
	ErrCorrupt = errors.New("corrupt")
	// ErrEmpty is returned for a slot with an all-zero footer.
	ErrEmpty = errors.New("the slot is empty")
	// ErrNewer is wrapped for a format that a later abupdate wrote.
	ErrNewer = errors.New("written by a newer abupdate")
)

// RootType returns the type GUID of root partitions of an architecture, named
// as OCI does.
func RootType(arch string) (string, error) {
	switch arch {
	case "amd64":
		return RootAMD64Type, nil
	case "arm64":
		return RootARM64Type, nil
	}
	return "", fmt.Errorf("no root partition type known for architecture %q", arch)
}

// A Partition is one entry of a disk's partition table.
type Partition struct {
	Number         int // from 1, as the kernel counts
	Label          string
	GUID, TypeGUID string // lower case
	Off, Size      int64  // bytes
	Attributes     uint64
}

// Node returns the device node of the partition on the disk whose node or
// kernel name is given: sda3, nvme0n1p3.
func (p Partition) Node(disk string) string {
	if disk != "" && disk[len(disk)-1] >= '0' && disk[len(disk)-1] <= '9' {
		return fmt.Sprintf("%sp%d", disk, p.Number)
	}
	return fmt.Sprintf("%s%d", disk, p.Number)
}

func (p Partition) end() int64 { return p.Off + p.Size }

// checkOverlap returns an error if partitions share bytes.
func checkOverlap(parts []Partition) error {
	sorted := slices.SortedFunc(slices.Values(parts), func(a, b Partition) int {
		return int(min(1, max(-1, a.Off-b.Off)))
	})
	for i := 1; i < len(sorted); i++ {
		if a, b := sorted[i-1], sorted[i]; a.end() > b.Off {
			return fmt.Errorf("partitions %d and %d overlap at byte %d: %w", a.Number, b.Number, b.Off, ErrCorrupt)
		}
	}
	return nil
}

func equalGUID(a, b string) bool { return a != "" && strings.EqualFold(a, b) }
