package etc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/abupdate/abupdate/internal/durable"
)

// Dir is where everything is kept, below /var.
const Dir = "/lib/abupdate/etc"

// A Store is a Dir.
type Store struct {
	Path string // on this system
	// Sync brings the file system that it lies on to its medium.
	Sync func() error
	// Chown changes the owner of a file; nil is os.Lchown.
	Chown func(path string, uid, gid uint32) error
}

// Upper and Work are the directories of the overlay.
func (s Store) Upper() string { return filepath.Join(s.Path, "upper") }
func (s Store) Work() string  { return filepath.Join(s.Path, "work") }

func (s Store) stateFile() string  { return filepath.Join(s.Path, "state.json") }
func (s Store) revertFile() string { return filepath.Join(s.Path, "revert") }

// Reconcile makes the upper directory fit for an image whose /etc is in lower
// and whose root hash is image. It must not be mounted. The changes that stay
// are returned.
func (s Store) Reconcile(lower, image string) (map[string]Change, error) {
	for _, dir := range []string{s.Upper(), s.Work()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := s.revert(); err != nil {
		return nil, fmt.Errorf("giving changes up: %w", err)
	}
	state, err := s.read()
	if err != nil {
		return nil, err
	}
	now := state.Base
	if state.Image != image {
		if now, err = index(lower, false); err != nil {
			return nil, err
		}
	}
	if state.Image == "" { // nobody knows what older changes replaced
		state.Base = now
	}
	upper, err := index(s.Upper(), true)
	if err != nil {
		return nil, err
	}
	d := decide(upper, state, now)
	if err := s.carryOut(d, now); err != nil {
		return nil, err
	}
	if state.Image == image && maps.Equal(state.Changes, d.changes) {
		return d.changes, nil
	}
	return d.changes, s.write(&State{Format: stateFormat, Image: image, Base: now, Changes: d.changes})
}

// carryOut changes the upper directory.
func (s Store) carryOut(d decision, image Index) error {
	for _, path := range d.drop {
		if err := os.Remove(filepath.Join(s.Upper(), path)); err != nil {
			return err
		}
	}
	for _, path := range d.follow {
		if err := s.setMeta(filepath.Join(s.Upper(), path), image[path]); err != nil {
			return err
		}
	}
	if len(d.drop)+len(d.follow) == 0 {
		return nil
	}
	return s.Sync()
}

// setMeta gives a directory the owner and permissions of a print.
func (s Store) setMeta(path string, p Print) error {
	var perm, uid, gid uint32
	if _, err := fmt.Sscanf(string(p), "d %o %d:%d", &perm, &uid, &gid); err != nil {
		return fmt.Errorf("reading print %q: %w", p, err)
	}
	chown := s.Chown
	if chown == nil {
		chown = func(path string, uid, gid uint32) error { return os.Lchown(path, int(uid), int(gid)) }
	}
	if err := chown(path, uid, gid); err != nil {
		return err
	}
	return syscall.Chmod(path, perm)
}

// revert takes away what somebody has given up.
func (s Store) revert() error {
	text, err := os.ReadFile(s.revertFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		path := strings.TrimSuffix(line, "\n")
		if !filepath.IsLocal(path) || path == "." {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.Upper(), path)); err != nil {
			return err
		}
	}
	if err := s.Sync(); err != nil {
		return err
	}
	if err := os.Remove(s.revertFile()); err != nil {
		return err
	}
	return s.Sync() // else a cut would give up what is changed from now on
}

// read returns what is on record. A record that cannot be read says nothing:
// then changes are kept, as replacing what this image has.
func (s Store) read() (*State, error) {
	text, err := os.ReadFile(s.stateFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	state := new(State)
	if err != nil || json.Unmarshal(text, state) != nil || state.Format != stateFormat {
		return new(State), nil
	}
	return state, nil
}

func (s Store) write(state *State) error {
	text, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("encoding the record: %w", err)
	}
	return durable.WriteFile(s.stateFile(), text, 0o600)
}

// A Listed is a Change with its path.
type Listed struct {
	Path     string `json:"path"`
	Change   string `json:"change"` // changed, added or removed
	Conflict bool   `json:"conflict"`
}

// changes are those of a running system, also those since its boot.
func (s Store) changes() (*State, Index, map[string]Change, error) {
	state, err := s.read()
	if err != nil {
		return nil, nil, nil, fmt.Errorf("reading the record of changes: %w", err)
	}
	upper, err := index(s.Upper(), true)
	if err != nil {
		return nil, nil, nil, err
	}
	return state, upper, decide(upper, state, state.Base).changes, nil
}

// List returns the changes of a running system, also those since its boot,
// sorted by path.
func (s Store) List() ([]Listed, error) {
	_, upper, changes, err := s.changes()
	if err != nil {
		return nil, err
	}
	var list []Listed
	for _, path := range slices.Sorted(maps.Keys(changes)) {
		l := Listed{Path: path, Change: "changed", Conflict: changes[path].Conflict()}
		switch {
		case upper[path] == "":
			l.Change = "removed"
		case changes[path].Image == "":
			l.Change = "added"
		}
		list = append(list, l)
	}
	return list, nil
}

// ErrNoChange is returned for a path that is not changed.
var ErrNoChange = errors.New("is not changed")

// Accept ends the conflicts of paths, and of all in them where they are
// folders: the device's version stays. Changes that are in no conflict stay as
// they are.
func (s Store) Accept(paths ...string) error {
	state, _, changes, err := s.changes()
	if err != nil {
		return err
	}
	accepted := false
	for _, path := range paths {
		found := false
		for name, c := range changes {
			if name != path && !strings.HasPrefix(name, path+"/") {
				continue
			}
			if found = true; c.Conflict() {
				state.Changes[name] = Change{Base: c.Image, Image: c.Image}
				accepted = true
			}
		}
		if !found {
			return fmt.Errorf("%s %w", path, ErrNoChange)
		}
	}
	if !accepted {
		return nil
	}
	return s.write(state)
}

// Revert gives the changes of paths up at the next boot: the image's own files
// show again.
func (s Store) Revert(paths ...string) error {
	upper, err := index(s.Upper(), true)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(s.revertFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, path := range paths {
		if _, ok := upper[path]; !ok || strings.Contains(path, "\n") {
			return fmt.Errorf("%s %w", path, ErrNoChange)
		}
		text = append(text, path+"\n"...)
	}
	return durable.WriteFile(s.revertFile(), text, 0o600)
}
