package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Suffixes of the files that Read looks at in a folder.
const (
	KeySuffix  = ".pub"  // public keys in PEM
	ListSuffix = ".keys" // a KeyList
)

// ErrNoKeys is wrapped by the error of Read for a path that holds no keys.
var ErrNoKeys = errors.New("no public key")

// ReadDirs reads the keys in some folders, of which any may be missing: NAME.pub,
// and the key lists NAME.keys that a key among them has signed. A file that
// cannot be read is an error: it would otherwise turn trust off.
func ReadDirs(dirs ...string) (Set, []KeyList, error) {
	var set Set
	var lists []KeyList
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("reading trusted keys: %w", err)
		}
		for _, e := range entries {
			if err := readFile(filepath.Join(dir, e.Name()), &set, &lists); err != nil {
				return nil, nil, err
			}
		}
	}
	return set.With(lists), lists, nil
}

// Read reads the keys in files and folders that somebody named: each must hold
// one at least.
func Read(paths ...string) (Set, []KeyList, error) {
	var set Set
	var lists []KeyList
	for _, p := range paths {
		found, more, err := readPath(p)
		if err != nil {
			return nil, nil, err
		}
		set.Add(found...)
		lists = append(lists, more...)
	}
	return set.With(lists), lists, nil
}

func readPath(path string) (Set, []KeyList, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading trusted keys: %w", err)
	}
	var set Set
	var lists []KeyList
	switch {
	case fi.IsDir():
		set, lists, err = ReadDirs(path)
	case strings.HasSuffix(path, ListSuffix):
		return nil, nil, fmt.Errorf("reading trusted keys: %s is a key list, and counts beside the key that signed it, in a folder", path)
	default:
		err = readKeys(path, &set)
	}
	if err == nil && len(set) == 0 {
		err = fmt.Errorf("reading trusted keys: %s: %w", path, ErrNoKeys)
	}
	return set, lists, err
}

// readFile reads one file of a folder; those with other names are not for us.
func readFile(name string, set *Set, lists *[]KeyList) error {
	switch {
	case strings.HasSuffix(name, KeySuffix):
		return readKeys(name, set)
	case strings.HasSuffix(name, ListSuffix):
		text, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("reading trusted keys: %w", err)
		}
		*lists = append(*lists, KeyList(text))
	}
	return nil
}

func readKeys(name string, set *Set) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading trusted keys: %w", err)
	}
	keys, err := ParsePEM(name, text)
	if err != nil {
		return fmt.Errorf("reading trusted keys: %w", err)
	}
	set.Add(keys...)
	return nil
}
