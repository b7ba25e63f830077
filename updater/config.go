package updater

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/BurntSushi/toml"

	"github.com/abupdate/abupdate/internal/fault"
)

// ConfigDir is where a device keeps its configuration: config.toml and
// drop-ins in config.d.
const ConfigDir = "/etc/abupdate"

// Config is a device's configuration; docs/cli.md lists the keys.
type Config struct {
	// Image is what apply takes when it is called without a reference.
	Image string `toml:"image"`
	// Insecure allows plain HTTP for registries that are not on loopback.
	Insecure bool `toml:"insecure"`
	// SpoolDir holds compressed layers while an ordinary image is read.
	SpoolDir string `toml:"spool_dir"`
}

// ReadConfig reads dir/config.toml and then dir/config.d/*.toml in the order
// of their names; a later file replaces the keys it names. Missing files are
// no error, unknown keys are.
func ReadConfig(dir string) (Config, error) {
	var c Config
	dropins, err := filepath.Glob(filepath.Join(dir, "config.d", "*.toml"))
	if err != nil {
		return c, fault.Errorf(fault.Usage, "reading the configuration in %s: %w", dir, err)
	}
	slices.Sort(dropins)
	for _, path := range append([]string{filepath.Join(dir, "config.toml")}, dropins...) {
		if err := c.merge(path); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *Config) merge(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	md, err := toml.Decode(string(b), c)
	if err != nil {
		return fault.Errorf(fault.Usage, "reading %s: %w", path, err)
	}
	if unknown := md.Undecoded(); len(unknown) > 0 {
		return fault.Errorf(fault.Usage, "reading %s: unknown key %q", path, unknown[0].String())
	}
	return nil
}
