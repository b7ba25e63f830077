package squashfs

import "github.com/abupdate/abupdate/internal/fault"

// A Preset is a level and the block size that goes with it.
type Preset string

// The presets. Larger blocks compress better, but one of them is read and
// unpacked whole for 4 KiB of it, and costs a device more to download when a
// part of it changes.
const (
	Fast    Preset = "fast"
	Default Preset = "default"
	Best    Preset = "best"
)

// bestBlockSize is enough for images of the size that mksquashfs makes at its
// default level.
const bestBlockSize = 512 << 10

// ParsePreset is the inverse of the conversion to a string.
func ParsePreset(s string) (Preset, error) {
	switch p := Preset(s); p {
	case Fast, Default, Best:
		return p, nil
	}
	return "", fault.Errorf(fault.Usage, "parsing level %q: not fast, default, best or a number", s)
}

// Set sets the level of o for its compressor, and the block size unless o has
// one.
func (p Preset) Set(o *Options) {
	switch {
	case p == Default || o.Compression == None:
		o.Level = 0
	case p == Fast:
		o.Level = 1
	case o.Compression == Gzip:
		o.Level = 9
	default:
		o.Level = 22
	}
	if p == Best && o.BlockSize == 0 {
		o.BlockSize = bestBlockSize
	}
}
