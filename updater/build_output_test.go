package updater_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/abupdate/abupdate/updater"
)

// TestPlace: a finished file is under its name, or still where it was made.
func TestPlace(t *testing.T) {
	for _, tt := range []struct {
		name, from, to string
		err            error
		left           string // the file that there is then
	}{
		{"a new name", "made", "out", nil, "out"},
		{"in place of another", "made", "there", nil, "there"},
		{"nothing was made", "absent", "out", fs.ErrNotExist, "made"},
		{"into a folder that is not there", "made", "no/out", fs.ErrNotExist, "made"},
	} {
		dir := t.TempDir()
		for name, text := range map[string]string{"made": "new", "there": "old"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := updater.Place(filepath.Join(dir, tt.from), filepath.Join(dir, tt.to)); !errors.Is(err, tt.err) {
			t.Errorf("%s: Place() = %v; want %v", tt.name, err, tt.err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, tt.left)); err != nil || string(b) != "new" {
			t.Errorf("%s: %s holds %q, %v; want what was made", tt.name, tt.left, b, err)
		}
	}
}
