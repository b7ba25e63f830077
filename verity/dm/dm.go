// Package dm maps a slot through the kernel's dm-verity, so that every block
// is checked when it is read.
package dm

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	devmapper "github.com/anatol/devmapper.go"
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/verity"
)

// A Target is data and its hash tree on one device.
type Target struct {
	Name       string // of the mapping, as dmsetup lists it
	Device     string // node of the partition: data at 0, superblock at HashOffset
	DataBlocks int64
	HashOffset int64 // bytes, of the verity superblock
	Salt       []byte
	RootHash   []byte
	// RestartOnCorruption reboots the machine when a block does not match,
	// instead of failing the read.
	RestartOnCorruption bool
}

// Table returns the mapping's parameters as devmapper.go takes them: lengths
// in bytes, block sizes and positions in blocks, optional parameters behind
// their number.
func (t Target) Table() (devmapper.VerityTable, error) {
	if err := t.validate(); err != nil {
		return devmapper.VerityTable{}, fmt.Errorf("mapping %q: %w", t.Name, err)
	}
	salt := "-" // how the kernel spells no salt
	if len(t.Salt) > 0 {
		salt = hex.EncodeToString(t.Salt)
	}
	var options []string
	if t.RestartOnCorruption {
		options = append(options, "restart_on_corruption")
	}
	if len(options) > 0 {
		options = append([]string{strconv.Itoa(len(options))}, options...)
	}
	return devmapper.VerityTable{
		Length:         uint64(t.DataBlocks * verity.BlockSize),
		HashType:       1,
		DataDevice:     t.Device,
		HashDevice:     t.Device,
		DataBlockSize:  verity.BlockSize,
		HashBlockSize:  verity.BlockSize,
		NumDataBlocks:  uint64(t.DataBlocks),
		HashStartBlock: uint64(t.HashOffset/verity.BlockSize) + 1, // behind the superblock
		Algorithm:      "sha256",
		Digest:         hex.EncodeToString(t.RootHash),
		Salt:           salt,
		Params:         options,
	}, nil
}

func (t Target) validate() error {
	switch {
	case t.Name == "" || len(t.Name) >= unix.DM_NAME_LEN:
		return fmt.Errorf("name has %d bytes", len(t.Name))
	case t.Device == "" || strings.ContainsAny(t.Device, " \t\n\\"): // the kernel splits the table at spaces
		return fmt.Errorf("device %q", t.Device)
	case t.DataBlocks <= 0 || t.DataBlocks > math.MaxInt64/verity.BlockSize:
		return fmt.Errorf("%d data blocks", t.DataBlocks)
	case t.HashOffset < t.DataBlocks*verity.BlockSize || t.HashOffset%verity.BlockSize != 0:
		return fmt.Errorf("hash tree at byte %d, data ends at %d", t.HashOffset, t.DataBlocks*verity.BlockSize)
	case len(t.RootHash) != sha256.Size:
		return fmt.Errorf("root hash of %d bytes", len(t.RootHash))
	case len(t.Salt) > verity.MaxSaltSize:
		return fmt.Errorf("salt of %d bytes", len(t.Salt))
	}
	return nil
}

// Open maps the target, read-only, and returns the node of the mapped device.
// Without udev there is no /dev/mapper/NAME; the kernel makes /dev/dm-N. When
// it fails, no mapping is left behind.
func Open(t Target) (string, error) {
	table, err := t.Table()
	if err != nil {
		return "", err
	}
	if err := devmapper.Create(t.Name, ""); err != nil {
		return "", fmt.Errorf("mapping %s: creating the device: %w", t.Name, err)
	}
	dev, err := activate(t, table)
	if err != nil {
		return "", errors.Join(err, Remove(t.Name))
	}
	return dev, nil
}

func activate(t Target, table devmapper.VerityTable) (string, error) {
	if err := devmapper.Load(t.Name, devmapper.ReadOnlyFlag, table); err != nil {
		return "", fmt.Errorf("mapping %s: loading the verity table for %s: %w", t.Name, t.Device, err)
	}
	if err := devmapper.Resume(t.Name); err != nil {
		return "", fmt.Errorf("mapping %s: starting it: %w", t.Name, err)
	}
	info, err := devmapper.InfoByName(t.Name)
	if err != nil {
		return "", fmt.Errorf("mapping %s: asking for its number: %w", t.Name, err)
	}
	return fmt.Sprintf("/dev/dm-%d", unix.Minor(info.DevNo)), nil
}

// Remove takes the mapping away. Others, udev for one, may have it open for a
// moment after it came up, so Remove tries for two seconds while it is busy.
func Remove(name string) error {
	deadline := time.Now().Add(2 * time.Second)
	for {
		err := devmapper.Remove(name)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("removing mapping %s: %w", name, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
