// Package disk makes abupdate disks: it lays out partitions, writes the ESP,
// and converts image files. It is for build hosts and installers; what a
// device needs at boot is package partitions.
package disk

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
)

// A Layout says how large the partitions of a disk are. Partitions stand on
// the disk in the order esp, abstate, root-a, root-b, recovery, extras, var.
type Layout struct {
	ESP      Size    `toml:"esp"`
	Slot     Size    `toml:"slot"`     // of each, root-a and root-b
	Recovery Size    `toml:"recovery"` // 0: no recovery slot
	Var      Size    `toml:"var"`      // at least; it gets the rest of the disk
	Extras   []Extra `toml:"extra"`
}

// An Extra is a partition that abupdate makes and never touches again.
type Extra struct {
	Label string `toml:"label"`
	Type  string `toml:"type"` // linux, home, srv, or a type GUID
	Size  Size   `toml:"size"`
	FS    string `toml:"fs"` // none: it is left blank
}

// Limits of a layout. An ESP below MinESP (MinESP4K with sectors of 4096
// bytes) would not have the number of clusters that makes a FAT a FAT32.
const (
	MinESP    = 40 * MiB
	MinESP4K  = 272 * MiB
	MinSlot   = 2 * MiB
	MinVar    = 16 * MiB
	StateSize = 1 * MiB
	grain     = 1 * MiB // every partition starts and ends on it
)

// DefaultLayout returns a layout for an image of so many bytes: the slots
// leave it room to grow by half.
func DefaultLayout(image int64) Layout {
	slot := roundUp(Size(partitions.SlotSize(image+image/2)), 64*MiB)
	return Layout{ESP: 128 * MiB, Slot: slot, Recovery: slot, Var: 256 * MiB}
}

// ReadLayout reads a layout from a TOML file as ParseLayout does.
func ReadLayout(path string, def Layout) (Layout, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Layout{}, fault.Errorf(fault.Usage, "reading layout: %w", err)
	}
	l, err := ParseLayout(string(b), def)
	if err != nil {
		return Layout{}, fault.Errorf(fault.KindOf(err), "reading layout %s: %w", path, err)
	}
	return l, nil
}

// ParseLayout reads a layout from TOML text and validates it. What the text
// leaves out is as in def; extras are taken over all together or not at all.
func ParseLayout(text string, def Layout) (Layout, error) {
	l := def
	l.Extras = nil // the decoder would write into def's
	meta, err := toml.Decode(text, &l)
	if err != nil {
		var perr toml.ParseError
		if errors.As(err, &perr) {
			return Layout{}, fault.Errorf(fault.Usage, "line %d: %s", perr.Position.Line, perr.Message)
		}
		return Layout{}, fault.Wrap(fault.Usage, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return Layout{}, fault.Errorf(fault.Usage, "unknown key %s", unknown[0])
	}
	if !meta.IsDefined("extra") {
		l.Extras = slices.Clone(def.Extras)
	}
	return l, l.Validate()
}

// Validate returns an error of kind Usage for a layout that no disk can have.
func (l Layout) Validate() error {
	for _, s := range []struct {
		what     string
		is, atLo Size
	}{
		{"esp", l.ESP, MinESP}, {"slot", l.Slot, MinSlot}, {"recovery", l.Recovery, 0}, {"var", l.Var, MinVar},
	} {
		if s.is < s.atLo || s.is < 0 {
			return fault.Errorf(fault.Usage, "%s is %v, at least %v is needed", s.what, s.is, s.atLo)
		}
		if s.is%grain != 0 {
			return fault.Errorf(fault.Usage, "%s is %v, not a multiple of %v", s.what, s.is, grain)
		}
	}
	if l.Recovery != 0 && l.Recovery < MinSlot {
		return fault.Errorf(fault.Usage, "recovery is %v, at least %v is needed; 0 leaves it out", l.Recovery, MinSlot)
	}
	seen := map[string]bool{
		partitions.LabelESP: true, partitions.LabelState: true, partitions.LabelRootA: true,
		partitions.LabelRootB: true, partitions.LabelRecovery: true, partitions.LabelVar: true,
	}
	for i, e := range l.Extras {
		if err := e.validate(); err != nil {
			return fault.Errorf(fault.Usage, "extra %d: %w", i+1, err)
		}
		if seen[e.Label] {
			return fault.Errorf(fault.Usage, "extra %d: the label %s is taken", i+1, e.Label)
		}
		seen[e.Label] = true
	}
	if n := len(l.Extras) + 6; n > 128 {
		return fault.Errorf(fault.Usage, "%d partitions, a table holds 128", n)
	}
	return nil
}

var labelPattern = regexp.MustCompile(`^[A-Za-z0-9._+-]{1,36}$`)

func (e Extra) validate() error {
	if !labelPattern.MatchString(e.Label) {
		return fmt.Errorf("label %q is not 1 to 36 letters, digits or ._+-", e.Label)
	}
	if e.Size < grain || e.Size%grain != 0 {
		return fmt.Errorf("%s: size %v is not a positive multiple of %v", e.Label, e.Size, grain)
	}
	if e.FS != "" && e.FS != "none" {
		return fmt.Errorf("%s: fs %q: only none is known, the partition is left blank", e.Label, e.FS)
	}
	_, err := e.typeGUID()
	return err
}

func (e Extra) typeGUID() (string, error) {
	switch t := strings.ToLower(e.Type); t {
	case "", "linux":
		return partitions.LinuxGenericType, nil
	case "home":
		return partitions.HomeType, nil
	case "srv":
		return partitions.SrvType, nil
	case partitions.StateType:
		return "", fmt.Errorf("%s: its type is that of the boot state", e.Label)
	default:
		if partitions.CheckGUID(t) != nil {
			return "", fmt.Errorf("%s: type %q is neither linux, home, srv nor a GUID", e.Label, e.Type)
		}
		return t, nil
	}
}

// SlotA is where the first slot begins, in bytes. It does not depend on the size
// of the slots, so its image can be written before that is known.
func (l Layout) SlotA() int64 { return int64(grain + l.ESP + StateSize) }

// MinDisk is the size of the smallest disk that holds the layout.
func (l Layout) MinDisk() Size {
	sum := 2*grain + l.ESP + StateSize + 2*l.Slot + l.Recovery + l.Var
	for _, e := range l.Extras {
		sum += e.Size
	}
	return sum
}

func roundUp(n, unit Size) Size { return (n + unit - 1) / unit * unit }
