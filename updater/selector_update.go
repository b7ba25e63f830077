package updater

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater/selector"
)

// SelectorDir is where a slot brings the selector that its publisher made, by
// the name that firmware looks for: BOOTX64.EFI.
const SelectorDir = "/usr/lib/abupdate/selector"

// runDir is where the ESP is mounted while it is looked at.
const runDir = "/run/abupdate"

// SelectorConfig is the table [selector] of a device's configuration.
type SelectorConfig struct {
	// WithoutVariables replaces the only selector on firmware that keeps no
	// variables.
	WithoutVariables bool `toml:"without_variables"`
}

// SelectorOptions say what UpdateSelector does. The zero value looks at the
// running machine.
type SelectorOptions struct {
	selector.Options
	// Only reports what would be done.
	Only bool
	Root string // of the file system; "" is /
	// Files and Variables stand for the machine's, where they are not nil.
	Files     selector.Files
	Variables selector.Variables
}

// A SelectorReport tells of the selector on the ESP and of the slot's.
type SelectorReport struct {
	State selector.State `json:"state"`
	// File is what the firmware started, Digest its SHA-256, Version that of
	// the image that it was made of.
	File    string `json:"file"`
	Digest  string `json:"digest"`
	Version string `json:"version,omitempty"`
	Kernel  string `json:"kernel,omitempty"`
	// These are of the slot's, "" when it has none.
	SlotDigest  string `json:"slot_digest,omitempty"`
	SlotVersion string `json:"slot_version,omitempty"`
	SlotKernel  string `json:"slot_kernel,omitempty"`
	// Variables says that the firmware keeps any.
	Variables bool     `json:"variables"`
	Steps     []string `json:"steps,omitempty"`
	Problem   string   `json:"problem,omitempty"`
}

// slotSelector is the file that the slot brings.
func slotSelector(root string) string {
	return filepath.Join("/", root, SelectorDir, filepath.Base(LoaderPath(runtime.GOARCH)))
}

// HasSelector says whether the running slot brings a selector: else nothing is
// ever due.
func HasSelector(root string) bool {
	_, err := os.Stat(slotSelector(root))
	return err == nil
}

// UpdateSelector brings the ESP closer to the selector that the booted slot
// brings, which must be confirmed: see package selector. The report is there
// also with an error, once the ESP has been looked at.
func (s *System) UpdateSelector(opt SelectorOptions) (_ *SelectorReport, err error) {
	if s.booted == nil {
		return nil, fault.Errorf(fault.Usage, "this machine does not run from %s", s.name)
	}
	state, err := s.load()
	if err != nil {
		return nil, err
	}
	confirmed := s.booted.Slot.IsRoot() && state.LastBoot.Slot == s.booted.Slot && state.LastBoot.Confirmed
	if !opt.Only && !confirmed {
		return nil, fault.Errorf(fault.Refused, "slot %v is not confirmed: its selector is not tried before", s.booted.Slot)
	}
	facts, part, err := s.selectorFacts(&opt)
	if err != nil {
		return nil, err
	}
	if opt.Files == nil {
		esp, err := selector.MountESP(part.Node(s.booted.Disk), filepath.Join("/", opt.Root, runDir))
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, esp.Close()) }()
		opt.Files = esp
	}
	w, err := selector.Look(opt.Files, opt.Variables, facts)
	if err != nil {
		return nil, err
	}
	d := selector.Plan(w, opt.Options)
	r := &SelectorReport{
		State: d.State, File: w.Current, Digest: w.CurrentDigest, SlotDigest: w.Want.Digest, Variables: w.Variables,
	}
	started := describeFile(opt.Files.Open(w.Current))
	r.Version, r.Kernel = started.Version, started.Kernel
	if facts.Open != nil {
		brought := describeFile(facts.Open())
		r.SlotVersion, r.SlotKernel = brought.Version, brought.Kernel
	}
	for _, step := range d.Steps {
		r.Steps = append(r.Steps, step.String())
		if opt.Only && step.Kind == selector.SetNext && len(step.Order) > 0 {
			r.State = selector.Due // it is not ordered yet
		}
	}
	if !opt.Only {
		err = selector.Run(opt.Files, opt.Variables, facts, d.Steps)
	}
	if err = cmp.Or(err, d.Err); err != nil {
		r.Problem = err.Error()
	}
	return r, err
}

// selectorFacts finds the ESP that the selector was started from.
func (s *System) selectorFacts(opt *SelectorOptions) (selector.Facts, partitions.Partition, error) {
	part, ok := s.disk.Partition(partitions.LabelESP)
	if !ok {
		return selector.Facts{}, part, fmt.Errorf("looking for the ESP on %s: there is no partition %s", s.name, partitions.LabelESP)
	}
	if opt.Variables == nil && opt.Files == nil {
		opt.Variables = selector.OpenVariables(filepath.Join("/", opt.Root, selector.EFIDir))
	}
	if opt.Variables != nil {
		guid := selector.BootedPartition(opt.Variables)
		if guid != "" && !strings.EqualFold(guid, part.GUID) {
			return selector.Facts{}, part, fault.Errorf(fault.Refused, "the firmware started from partition %s, which is not the ESP of %s", guid, s.name)
		}
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return selector.Facts{}, part, fmt.Errorf("reading the name of this boot: %w", err)
	}
	sector := s.disk.SectorSize()
	facts := selector.Facts{
		ESP:      selector.ESP{GUID: part.GUID, Number: uint32(part.Number), Start: uint64(part.Off / sector), Blocks: uint64(part.Size / sector)},
		Fallback: LoaderPath(runtime.GOARCH), Boot: strings.TrimSpace(string(boot)),
	}
	if HasSelector(opt.Root) {
		facts.Open = func() (io.ReadCloser, error) { return os.Open(slotSelector(opt.Root)) }
	}
	return facts, part, nil
}

// describeFile is describeSelector of a file that may not be there.
func describeFile(f io.ReadCloser, err error) Selector {
	if err != nil {
		return Selector{}
	}
	defer f.Close()
	at, ok := f.(io.ReaderAt)
	if !ok {
		b, err := io.ReadAll(f)
		if err != nil {
			return Selector{}
		}
		at = bytes.NewReader(b)
	}
	return describeSelector(at)
}
