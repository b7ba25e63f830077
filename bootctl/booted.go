package bootctl

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// BootedPath is where the initramfs leaves word of what it booted.
const BootedPath = "/run/abupdate/boot.json"

// Booted says what this boot runs, from where and why.
type Booted struct {
	Slot           Slot   `json:"slot"`
	Disk           string `json:"disk"`                // device node of the boot disk
	DiskGUID       string `json:"disk_guid,omitempty"` // of its GPT
	Version        string `json:"version,omitempty"`
	RootHash       string `json:"root_hash,omitempty"`
	Kernel         string `json:"kernel,omitempty"`
	StatePartition string `json:"state_partition,omitempty"` // PARTUUID
	Try            int    `json:"try,omitempty"`             // of a pending slot; 0 when tries do not count
	Fallback       string `json:"fallback,omitempty"`        // reason, when this is not what was ordered
	// Selector is the release of the kernel that the firmware started, which
	// then chose the slot. Kexec says that it can go over to other kernels.
	Selector string `json:"selector,omitempty"`
	Kexec    bool   `json:"kexec,omitempty"`
	// SignedOnly says that unsigned slots do not start here.
	SignedOnly bool `json:"signed_only,omitempty"`
}

// ReadBooted reads what Write wrote. Its error is fs.ErrNotExist on a system
// that abupdate did not boot.
func ReadBooted(path string) (*Booted, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	b := new(Booted)
	if err := json.Unmarshal(data, b); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return b, nil
}

// Write puts b at path, with the directories that it needs. A reader sees all
// of it or nothing.
func (b Booted) Write(path string) error {
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding what was booted: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
