package initramfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/internal/durable"
)

// machineIDPath is where the machine's ID is kept, below /var.
const machineIDPath = "/lib/abupdate/machine-id"

// storedMachineID returns the ID that is kept on var, making one at the first
// boot. An ID that the image brings is not used: all devices would share it.
func (b *boot) storedMachineID() (string, error) {
	path, err := resolve(b.path(varDir), machineIDPath)
	if err != nil {
		return "", err
	}
	raw, err := readFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if id := strings.TrimSpace(string(raw)); validID(id) {
		return id, nil
	}
	var id [16]byte
	if err := b.sys.Random(id[:]); err != nil {
		return "", err
	}
	text := formatID(id[:])
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return text, durable.WriteFile(path, []byte(text+"\n"), 0o444)
}

// setMachineID puts the ID where the image's init looks for it. That is in
// the overlay: what an image has there, a link too, is hidden.
func (b *boot) setMachineID(id string) error {
	dir, err := resolve(b.path(newRoot), "/etc")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, "machine-id")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("setting the machine ID: %w", err)
	}
	if err := os.WriteFile(path, []byte(id+"\n"), 0o444); err != nil {
		return fmt.Errorf("setting the machine ID: %w", err)
	}
	return nil
}

// derivedID makes an ID for a device that has nowhere to keep one: always the
// same one from what is the device's own.
func derivedID(own ...string) string {
	sum := sha256.Sum256([]byte("abupdate machine-id\x00" + strings.Join(own, "\x00")))
	return formatID(sum[:16])
}

// hardwareID is a word that the firmware has for this machine, "" if none. A
// disk's GUID alone is shared by all copies of one disk image.
func (b *boot) hardwareID() string {
	for _, name := range []string{"/sys/class/dmi/id/product_uuid", "/sys/firmware/devicetree/base/serial-number"} {
		if raw, err := readFile(b.path(name)); err == nil && len(raw) > 0 {
			return strings.Trim(string(raw), "\x00\n ")
		}
	}
	return ""
}

// formatID writes 16 bytes as machine-id(5) wants them: the hex digits of a
// random UUID (version 4).
func formatID(id []byte) string {
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id)
}

// validID says whether systemd would take it.
func validID(id string) bool {
	raw, err := hex.DecodeString(id)
	return err == nil && len(raw) == 16 && id == strings.ToLower(id) && strings.Trim(id, "0") != ""
}
