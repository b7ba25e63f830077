package disk

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
)

// A Size is a number of bytes, written "512M" or "2G" with powers of 1024.
type Size int64

// The units of a Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

var units = []struct {
	suffix string
	unit   Size
}{{"T", TiB}, {"G", GiB}, {"M", MiB}, {"K", KiB}}

// ParseSize reads a size: digits, then K, M, G, T (also KiB and so on) or
// nothing for bytes.
func ParseSize(s string) (Size, error) {
	digits, unit := strings.TrimSuffix(s, "iB"), Size(1)
	if digits != s && !strings.ContainsAny(digits, "KMGT") {
		return 0, badSize(s)
	}
	for _, u := range units {
		if rest, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, unit = rest, u.unit
			break
		}
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || digits[0] == '+' {
		return 0, badSize(s)
	}
	if n > uint64(1<<53/unit) {
		return 0, fault.Errorf(fault.Usage, "size %q is more than any disk has", s)
	}
	return Size(n) * unit, nil
}

func badSize(s string) error {
	return fault.Errorf(fault.Usage, "size %q is not a number with K, M, G or T", s)
}

// String writes the size with the largest unit that divides it.
func (s Size) String() string {
	for _, u := range units {
		if s >= u.unit && s%u.unit == 0 {
			return fmt.Sprintf("%d%s", s/u.unit, u.suffix)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText implements encoding.TextMarshaler.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(b []byte) error {
	v, err := ParseSize(string(b))
	*s = v
	return err
}
