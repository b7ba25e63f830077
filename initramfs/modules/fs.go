package modules

import (
	"errors"
	"io/fs"
	"path"
)

// FromFS returns the Source of an unpacked module folder.
func FromFS(fsys fs.FS) Source { return fsSource{fsys} }

type fsSource struct{ fsys fs.FS }

// Names lists with ReadDir alone: go-diskfs's squashfs cannot open or stat a
// directory, which fs.WalkDir does.
func (s fsSource) Names() ([]string, error) {
	var names []string
	for todo := []string{"."}; len(todo) > 0; {
		dir := todo[0]
		todo = todo[1:]
		entries, err := fs.ReadDir(s.fsys, dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			p := path.Join(dir, e.Name())
			switch {
			case e.IsDir():
				todo = append(todo, p)
			case e.Type().IsRegular():
				names = append(names, p)
			}
		}
	}
	return names, nil
}

func (s fsSource) Read(names []string) (map[string][]byte, error) {
	got := make(map[string][]byte, len(names))
	for _, n := range names {
		b, err := fs.ReadFile(s.fsys, n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		got[n] = b
	}
	return got, nil
}
