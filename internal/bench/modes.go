package main

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/verity"
)

// modes are programs that only exist to be measured: what a peer does alone
// and abupdate only as a part of more.
var modes = map[string]func(args []string) error{
	measured:   runMeasured,
	"tar2sqfs": runTar2sqfs,
	"verity":   runVerity,
	"randread": runRandread,
}

// mode runs what the first argument names, if it names one of modes.
func mode(args []string) (found bool, err error) {
	if len(args) == 0 || modes[args[0]] == nil {
		return false, nil
	}
	return true, modes[args[0]](args[1:])
}

// runTar2sqfs packs the tar on standard input into the file args[0].
func runTar2sqfs(args []string) error {
	out, err := os.Create(args[0])
	if err != nil {
		return err
	}
	defer out.Close()
	w, err := squashfs.NewWriter(&fileSink{f: out, off: firstBlock}, squashfs.Options{})
	if err != nil {
		return err
	}
	defer w.Abort()
	tree := fstree.NewTree()
	tr := tar.NewReader(bufio.NewReaderSize(os.Stdin, 256<<10))
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = addEntry(w, tree, h, tr)
		}
		if err != nil {
			return err
		}
	}
	if _, err := w.Close(tree); err != nil {
		return err
	}
	return out.Close()
}

func addEntry(w *squashfs.Writer, tree *fstree.Tree, h *tar.Header, r io.Reader) error {
	e, ok := entryOf(h)
	if !ok {
		return nil
	}
	n, err := tree.Add(e)
	if err != nil || e.Type != fstree.Regular || e.Size == 0 {
		return err
	}
	c, err := w.File(e.Path, e.Size, r)
	tree.SetContent(n, c)
	return err
}

var kinds = map[byte]fstree.Type{
	tar.TypeReg: fstree.Regular, tar.TypeDir: fstree.Directory, tar.TypeSymlink: fstree.Symlink, tar.TypeLink: fstree.Hardlink,
	tar.TypeChar: fstree.CharDevice, tar.TypeBlock: fstree.BlockDevice, tar.TypeFifo: fstree.FIFO,
}

// entryOf takes a header of a tar that is a plain root, without anything that
// layers have besides; false for what is no object. A squashfs cannot hold
// access control lists.
func entryOf(h *tar.Header) (fstree.Entry, bool) {
	typ, ok := kinds[h.Typeflag]
	e := fstree.Entry{
		Path: strings.TrimPrefix(path.Clean("/"+h.Name), "/"), Type: typ, Mode: uint16(h.Mode & 0o7777), UID: uint32(h.Uid), GID: uint32(h.Gid),
		ModTime: h.ModTime.Unix(), Size: h.Size, Linkname: h.Linkname, Major: uint32(h.Devmajor), Minor: uint32(h.Devminor),
	}
	if typ == fstree.Hardlink {
		e.Linkname = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
	}
	for k, v := range h.PAXRecords {
		if name, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok && !strings.HasPrefix(name, "system.") {
			e.Xattrs = append(e.Xattrs, fstree.Xattr{Name: name, Value: []byte(v)})
		}
	}
	fstree.SortXattrs(e.Xattrs)
	return e, ok
}

const firstBlock = 4096 // bytes that a squashfs.Sink gets last

type fileSink struct {
	f   *os.File
	off int64
}

func (s *fileSink) Write(p []byte) (int, error) {
	n, err := s.f.WriteAt(p, s.off)
	s.off += int64(n)
	return n, err
}

func (s *fileSink) WriteFirst(block []byte) error {
	_, err := s.f.WriteAt(block, 0)
	return err
}

// runVerity writes the hash tree of the file args[0] into args[1].
func runVerity(args []string) error {
	in, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	tree, err := verity.Build(in, info.Size(), verity.DefaultParams())
	if err != nil {
		return err
	}
	out, err := os.Create(args[1])
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := tree.WriteTo(out); err != nil {
		return err
	}
	return out.Close()
}

// runRandread reads 4 KiB at each place in the list args[1], in files below
// the folder args[0].
func runRandread(args []string) error {
	list, err := os.ReadFile(args[1])
	if err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for line := range strings.Lines(string(list)) {
		var p place
		if err := p.parse(line); err != nil {
			return err
		}
		f, err := os.Open(path.Join(args[0], p.path))
		if err != nil {
			return err
		}
		_, err = f.ReadAt(buf, p.off)
		f.Close()
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading %s at %d: %w", p.path, p.off, err)
		}
	}
	return nil
}
