package compose

import (
	"fmt"
	"slices"

	"github.com/BurntSushi/toml"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
)

// ConfigDir holds what an image says of the devices that run it: *.toml files,
// read in the order of their names. A later one replaces the keys that it has,
// except that paths add up.
const ConfigDir = "usr/lib/abupdate/config.d"

// imageConfig is what they hold.
type imageConfig struct {
	// Etc is "persist" to keep changes in /etc, or "ephemeral".
	Etc     string `toml:"etc"`
	Persist struct {
		// Paths are further folders that are kept.
		Paths []string `toml:"paths"`
	} `toml:"persist"`
}

// configure takes the image's configuration into the manifest.
func configure(m *manifest.Manifest, paths []string, files map[string][]byte) error {
	for _, path := range paths {
		var c imageConfig
		meta, err := toml.Decode(string(files[path]), &c)
		if err == nil && len(meta.Undecoded()) > 0 {
			err = fmt.Errorf("unknown key %v", meta.Undecoded()[0])
		}
		switch {
		case err != nil:
		case c.Etc == manifest.EtcPersist:
			m.Etc = c.Etc
		case c.Etc == "ephemeral":
			m.Etc = ""
		case meta.IsDefined("etc"):
			err = fmt.Errorf("etc is %q; want persist or ephemeral", c.Etc)
		}
		for _, dir := range c.Persist.Paths {
			if err == nil {
				err = manifest.CheckPersist(dir)
			}
			m.Persist = append(m.Persist, dir)
		}
		if err != nil {
			return fault.Errorf(fault.Usage, "reading /%s of the image: %w", path, err)
		}
	}
	slices.Sort(m.Persist)
	m.Persist = slices.Compact(m.Persist)
	if len(m.Persist) > manifest.MaxPersist {
		return fault.Errorf(fault.Usage, "the image keeps %d folders by /%s, more than %d", len(m.Persist), ConfigDir, manifest.MaxPersist)
	}
	return nil
}
