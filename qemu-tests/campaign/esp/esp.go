// Package esp reads the FAT32 of an ESP that the power may have left in any
// state: what files there are, which clusters each has, and where two of them
// say that a cluster is theirs. It is written from Microsoft's FAT
// specification 1.03 and Linux's fs/fat, not from what abupdate reads an ESP
// with, so that the two can be compared.
package esp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// A File is a file or folder.
type File struct {
	Name string // path from the root
	Dir  bool
	Size int64
	// Clusters are those of its chain, up to where it breaks.
	Clusters []uint32
	// Broken says why the chain does not hold Size bytes, "" when it does.
	Broken string
}

// An FS is a file system at rest. As selector.Files it can be looked at only.
type FS struct {
	// Files are all files and folders, a folder before what it holds.
	Files []File
	// Dirty says that it was mounted when the power went.
	Dirty bool
	// Lost are clusters that are taken and in no file's chain.
	Lost int
	// Shared tells of files that claim the same cluster.
	Shared []string
	// Copies says that the copies of the table are the same.
	Copies bool

	dev     blockdev.Device
	cluster int64
	data    int64 // where cluster 2 is
	count   uint32
	table   []byte
	owner   map[uint32]string
}

const (
	endOfChain = 0x0ffffff8
	mask       = 0x0fffffff
	entrySize  = 32
)

// Read reads a file system. It fails where Linux would not mount it, or where
// the root folder cannot be read.
func Read(dev blockdev.Device) (*FS, error) {
	f := &FS{dev: dev, owner: make(map[uint32]string)}
	root, err := f.readHead()
	if err != nil {
		return nil, fmt.Errorf("reading the ESP: %w", err)
	}
	if err := f.walk(".", root); err != nil {
		return nil, fmt.Errorf("reading the ESP: %w", err)
	}
	for c := uint32(2); c < f.count+2; c++ {
		if f.owner[c] == "" && f.next(c) != 0 {
			f.Lost++
		}
	}
	return f, nil
}

// readHead reads the boot sector and the table.
func (f *FS) readHead() (root uint32, err error) {
	b := make([]byte, 512)
	if _, err := f.dev.ReadAt(b, 0); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	sector, reserved, copies := int64(le.Uint16(b[11:])), int64(le.Uint16(b[14:])), int64(b[16])
	perTable, total := int64(le.Uint32(b[36:])), int64(le.Uint32(b[32:]))
	if le.Uint16(b[510:]) != 0xaa55 || sector < 512 || b[13] == 0 || copies == 0 || total*sector > f.dev.Size() {
		return 0, errors.New("no boot sector of FAT32")
	}
	f.cluster, f.data = sector*int64(b[13]), (reserved+copies*perTable)*sector
	f.count = uint32(min((total*sector-f.data)/f.cluster, perTable*sector/4-2))
	f.Dirty = b[65]&1 != 0
	f.Copies = true
	for i := range copies {
		table := make([]byte, perTable*sector)
		if _, err := f.dev.ReadAt(table, (reserved+i*perTable)*sector); err != nil {
			return 0, err
		}
		if f.table == nil {
			f.table = table
		}
		f.Copies = f.Copies && bytes.Equal(f.table, table)
	}
	return le.Uint32(b[44:]), nil
}

func (f *FS) next(c uint32) uint32 { return binary.LittleEndian.Uint32(f.table[4*c:]) & mask }

// claim follows a chain and writes down whose it is. A folder's chain ends
// where it ends; a file's must hold what its entry says.
func (f *FS) claim(file *File, c uint32) {
	need := (file.Size + f.cluster - 1) / f.cluster
	for c != 0 || file.Dir {
		if c < 2 || c >= f.count+2 {
			file.Broken = fmt.Sprintf("cluster %d of its chain is %#x", len(file.Clusters), c)
			return
		}
		if other := f.owner[c]; other != "" {
			f.Shared = append(f.Shared, fmt.Sprintf("%s and %s have cluster %d", other, file.Name, c))
			file.Broken = "it has a cluster of " + other
			return
		}
		next := f.next(c)
		if next == 0 {
			file.Broken = fmt.Sprintf("cluster %d of its chain is free", len(file.Clusters))
			return
		}
		f.owner[c] = file.Name
		file.Clusters = append(file.Clusters, c)
		if c = next; c >= endOfChain {
			break
		}
	}
	if have := int64(len(file.Clusters)); have < need {
		file.Broken = fmt.Sprintf("%d clusters; %d are needed", have, need)
	}
}

// walk adds a folder and what is below it.
func (f *FS) walk(name string, first uint32) error {
	dir := File{Name: name, Dir: true}
	f.claim(&dir, first)
	f.Files = append(f.Files, dir)
	if dir.Broken != "" && name == "." {
		return errors.New("root folder: " + dir.Broken)
	}
	b, err := f.read(dir.Clusters)
	if err != nil {
		return err
	}
	for _, e := range entries(b) {
		if e.name == "." || e.name == ".." {
			continue
		}
		child := path.Join(name, e.name)
		if e.dir {
			if err := f.walk(child, e.first); err != nil {
				return err
			}
			continue
		}
		file := File{Name: child, Size: e.size}
		f.claim(&file, e.first)
		f.Files = append(f.Files, file)
	}
	return nil
}

// read reads whole clusters.
func (f *FS) read(clusters []uint32) ([]byte, error) {
	b := make([]byte, int64(len(clusters))*f.cluster)
	for i := 0; i < len(clusters); {
		n := 1
		for i+n < len(clusters) && clusters[i+n] == clusters[i]+uint32(n) {
			n++
		}
		p := b[int64(i)*f.cluster : int64(i+n)*f.cluster]
		if k, err := f.dev.ReadAt(p, f.data+int64(clusters[i]-2)*f.cluster); k < len(p) {
			return nil, err
		}
		i += n
	}
	return b, nil
}

// Partial names the files that are there in part, "" when there is none.
func (f *FS) Partial() string {
	var names []string
	for _, file := range f.Files {
		if file.Broken != "" {
			names = append(names, file.Name)
		}
	}
	return strings.Join(names, " ")
}

// Find returns a file, nil when it is not there.
func (f *FS) Find(name string) *File {
	for i := range f.Files {
		if strings.EqualFold(f.Files[i].Name, name) {
			return &f.Files[i]
		}
	}
	return nil
}

// Content is a whole file. Its error wraps fs.ErrNotExist when it is not
// there, and says so when a part of it is not.
func (f *FS) Content(name string) ([]byte, error) {
	file := f.Find(name)
	switch {
	case file == nil || file.Dir:
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	case file.Broken != "":
		return nil, fmt.Errorf("%s: %s", name, file.Broken)
	}
	b, err := f.read(file.Clusters)
	if err != nil {
		return nil, err
	}
	return b[:file.Size], nil
}
