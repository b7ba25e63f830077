package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ReadDirs reads the keys in the files NAME.pub of some directories, of which
// any may be missing. A file that cannot be read is an error: it would
// otherwise turn trust off.
func ReadDirs(dirs ...string) (Set, error) {
	var set Set
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading trusted keys: %w", err)
		}
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".pub") {
				continue
			}
			name := filepath.Join(dir, e.Name())
			text, err := os.ReadFile(name)
			if err != nil {
				return nil, fmt.Errorf("reading trusted keys: %w", err)
			}
			keys, err := ParsePEM(name, text)
			if err != nil {
				return nil, fmt.Errorf("reading trusted keys: %w", err)
			}
			set.Add(keys...)
		}
	}
	return slices.Clip(set), nil
}
