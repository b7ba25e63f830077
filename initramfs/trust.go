package initramfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater/trust"
)

// Where the initramfs has what it was made with.
const (
	TrustDir   = "/etc/abupdate/trust.d" // public keys
	ConfigPath = "/etc/abupdate/initramfs.json"
)

// A Config is what an initramfs was made with besides modules and keys.
type Config struct {
	// AllowLocal lets slots boot that carry no signature, though there are
	// keys: those that the device itself made of an ordinary image, whose
	// root hash nobody else knows.
	AllowLocal bool `json:"allow_local,omitempty"`
}

// checkTrust follows the chain from a key of the initramfs to the slot's root
// hash. Without keys everything is trusted; with keys, and one of them
// unreadable, nothing is.
func (b *boot) checkTrust(c *partitions.SlotContent) error {
	keys, _, err := trust.ReadDirs(b.path(TrustDir))
	if err != nil || len(keys) == 0 {
		return err
	}
	config, err := b.config()
	if err != nil {
		return err
	}
	b.signedOnly = !config.AllowLocal
	if len(c.Signatures) == 0 {
		if b.signedOnly {
			return fmt.Errorf("it is unsigned, and this device starts only what is signed by one of %v", keys)
		}
		b.debug("unsigned, as the initramfs allows")
		return nil
	}
	envelope, err := trust.DecodeEnvelope(c.Signatures)
	if err != nil {
		return err
	}
	key, err := keys.VerifyManifest(envelope, c.ManifestRaw)
	if err != nil {
		return err
	}
	b.debug("signed by %v", key)
	return nil
}

func (b *boot) config() (Config, error) {
	var c Config
	text, err := readFile(b.path(ConfigPath))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	if err != nil {
		return c, fmt.Errorf("reading %s: %w", ConfigPath, err)
	}
	return c, nil
}
