package esp

import (
	"bytes"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/abupdate/abupdate/updater/selector"
)

// List implements selector.Files.
func (f *FS) List(dir string) (list []selector.File, err error) {
	for _, file := range f.Files {
		if !file.Dir && strings.EqualFold(path.Dir(file.Name), dir) {
			list = append(list, selector.File{Name: file.Name, Size: file.Size})
		}
	}
	return list, nil
}

// Open implements selector.Files.
func (f *FS) Open(name string) (io.ReadCloser, error) {
	b, err := f.Content(name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// Room implements selector.Files.
func (f *FS) Room() (selector.Room, error) {
	free := int64(0)
	for c := uint32(2); c < f.count+2; c++ {
		if f.next(c) == 0 {
			free += f.cluster
		}
	}
	return selector.Room{Free: free, Cluster: f.cluster}, nil
}

var errAtRest = errors.New("the file system is only looked at")

// What follows would change something.

func (f *FS) Create(string, io.Reader) error { return errAtRest }
func (f *FS) Sync(string) error              { return errAtRest }
func (f *FS) SyncDir(string) error           { return errAtRest }
func (f *FS) Rename(string, string) error    { return errAtRest }
func (f *FS) Remove(string) error            { return errAtRest }

var _ selector.Files = (*FS)(nil)
