package updater

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/abupdate/abupdate/partitions/disk"
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
	// RetryFor is how long a transfer is tried again that gets no further.
	RetryFor Duration `toml:"retry_for"`
	// LimitRate is what all transfers may take together, LowSpeed what one
	// must make, or it is tried again.
	LimitRate Rate `toml:"limit_rate"`
	LowSpeed  Rate `toml:"low_speed"`
	// Registries are the hosts, HOST or HOST:PORT, with something special.
	Registries map[string]RegistryConfig `toml:"registries"`
	// Health is how the booted system is examined.
	Health HealthConfig `toml:"health"`
	// Selector is how the selector is kept up to date.
	Selector SelectorConfig `toml:"selector"`
}

// A RegistryConfig is what is special about one host.
type RegistryConfig struct {
	CA       string   `toml:"ca"`      // PEM file, beside the system's; relative to the configuration
	Mirrors  []string `toml:"mirrors"` // HOST[:PORT][/PATH], in the order to try
	Insecure bool     `toml:"insecure"`
}

// A Rate is bytes a second, written as a size, with or without "/s".
type Rate int64

// UnmarshalText reads "500K", "2M/s".
func (r *Rate) UnmarshalText(b []byte) error {
	size, err := disk.ParseSize(strings.TrimSuffix(string(b), "/s"))
	*r = Rate(size)
	return err
}

// String writes the rate as UnmarshalText reads it.
func (r Rate) String() string { return disk.Size(r).String() + "/s" }

// A Duration is a time with its unit, "90s". A number without one is refused: it
// would be taken for nanoseconds.
type Duration time.Duration

// UnmarshalText reads what time.ParseDuration takes.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// String writes the time as UnmarshalText reads it.
func (d Duration) String() string { return time.Duration(d).String() }

// Wire returns what the configuration says of the network.
func (c Config) Wire() wire.Options {
	opt := wire.Options{RetryFor: time.Duration(c.RetryFor), Bandwidth: int64(c.LimitRate), LowSpeed: int64(c.LowSpeed), Hosts: map[string]wire.Host{}}
	for host, r := range c.Registries {
		opt.Hosts[host] = wire.Host{CA: r.CA, Mirrors: r.Mirrors, Insecure: r.Insecure}
	}
	return opt
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
	if err := c.check(filepath.Dir(path)); err != nil {
		return fault.Errorf(fault.Usage, "reading %s: %w", path, err)
	}
	return nil
}

// check looks at what was read from a file in dir.
func (c *Config) check(dir string) error {
	if c.RetryFor < 0 {
		return fmt.Errorf("retry_for is %v", c.RetryFor)
	}
	if err := c.Health.check(); err != nil {
		return err
	}
	for host, r := range c.Registries {
		if host == "" || strings.Contains(host, "/") {
			return fmt.Errorf("[registries.%q]: want HOST or HOST:PORT", host)
		}
		for _, m := range r.Mirrors {
			rest := strings.TrimPrefix(strings.TrimPrefix(m, "http://"), "https://")
			if name, _, _ := strings.Cut(rest, "/"); name == "" || strings.Contains(rest, "://") {
				return fmt.Errorf("[registries.%q]: mirror %q: want HOST[:PORT][/PATH]", host, m)
			}
		}
		if r.CA != "" && !filepath.IsAbs(r.CA) {
			r.CA = filepath.Join(dir, r.CA)
			c.Registries[host] = r
		}
	}
	return nil
}
