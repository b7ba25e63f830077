package oci

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync/atomic"

	"github.com/abupdate/abupdate/internal/fault"
)

// Bounds of the index of an archive: members, and bytes of their names.
const maxArchiveMembers = 1 << 20

var maxArchiveNames = 64 << 20 // less in a test

// A tarFiles reads the members of a tar file where they stand.
type tarFiles struct {
	f       *os.File
	members map[string]member
	users   atomic.Int32 // besides the first
}

type member struct {
	off, size int64
	link      string // of a symbolic or hard link: another member
}

// openArchive indexes a tar file. One that is compressed is decompressed into
// the spool directory first: its members could not be found again otherwise.
func openArchive(ctx context.Context, ref Reference, opt Options) (*tarFiles, error) {
	if fi, err := os.Stat(ref.Path); err == nil && fi.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0 {
		return nil, fault.Errorf(fault.Usage, "%v: %s is not a file: an archive is read here and there, which a pipe cannot do", ref, ref.Path)
	}
	f, err := os.Open(ref.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.Errorf(fault.Usage, "%v: no such file", ref)
	case err != nil:
		return nil, fmt.Errorf("%v: %w", ref, err)
	}
	if fi, err := f.Stat(); err == nil && fi.IsDir() {
		f.Close()
		return nil, fault.Errorf(fault.Usage, "%v: %s is a directory; a layout in one is written oci:%s", ref, ref.Path, ref.Path)
	}
	t := &tarFiles{f: f, members: map[string]member{}}
	if err := t.decompress(ctx, opt); err != nil {
		t.Close()
		return nil, fmt.Errorf("%v: %w", ref, err)
	}
	if err := t.index(ctx); err != nil {
		t.Close()
		return nil, fmt.Errorf("%v: %w", ref, err)
	}
	return t, nil
}

// decompress puts a plain copy in the place of a compressed archive.
func (t *tarFiles) decompress(ctx context.Context, opt Options) error {
	buf := bufio.NewReaderSize(withContext(ctx, t.f), 128<<10)
	plain, release, err := decompress(buf)
	if err != nil {
		return err
	}
	defer release()
	if plain == io.Reader(buf) {
		_, err := t.f.Seek(0, io.SeekStart)
		return err
	}
	spool, err := os.CreateTemp(opt.SpoolDir, "abupdate-archive-*")
	if err != nil {
		return fmt.Errorf("spooling: %w", err)
	}
	packed := t.f
	defer packed.Close()
	t.f = spool
	if err := os.Remove(spool.Name()); err != nil { // whatever ends this process, the room is given back
		return fmt.Errorf("spooling: %w", err)
	}
	limit := opt.Limits.withDefaults().LayerBytes
	n, err := io.Copy(spool, io.LimitReader(plain, limit+1))
	if err != nil {
		return spoolError(err)
	}
	if n > limit {
		return fault.Errorf(fault.Refused, "archive has more than %d bytes when decompressed", limit)
	}
	_, err = spool.Seek(0, io.SeekStart)
	return err
}

// index finds every member's place. The tar reader reads nothing ahead, and
// seeks over contents.
func (t *tarFiles) index(ctx context.Context) error {
	fi, err := t.f.Stat()
	if err != nil {
		return err
	}
	tr, names := tar.NewReader(t.f), 0
	for len(t.members) < maxArchiveMembers {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		hdr, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fault.Errorf(fault.Verify, "reading as tar: %w", err)
		}
		if names += len(hdr.Name) + len(hdr.Linkname); names > maxArchiveNames {
			return fault.Errorf(fault.Refused, "archive has more than %d bytes of names", maxArchiveNames)
		}
		off, err := t.f.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		name := path.Clean("/" + hdr.Name)[1:]
		switch hdr.Typeflag {
		case tar.TypeReg:
			if isSparse(hdr) {
				return fault.Errorf(fault.Verify, "member %q is stored sparse, which is not supported", hdr.Name)
			}
			if off+hdr.Size > fi.Size() {
				return fault.Errorf(fault.Verify, "member %q ends at byte %d, but the archive has %d", hdr.Name, off+hdr.Size, fi.Size())
			}
			t.members[name] = member{off: off, size: hdr.Size}
		case tar.TypeSymlink:
			t.members[name] = member{link: path.Clean(path.Join("/", path.Dir(name), hdr.Linkname))[1:]}
		case tar.TypeLink:
			t.members[name] = member{link: path.Clean("/" + hdr.Linkname)[1:]}
		}
	}
	return fault.Errorf(fault.Refused, "archive has more than %d members", maxArchiveMembers)
}

func isSparse(hdr *tar.Header) bool {
	for _, key := range []string{"GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.realsize"} {
		if _, ok := hdr.PAXRecords[key]; ok {
			return true
		}
	}
	return hdr.Typeflag == tar.TypeGNUSparse
}

func (t *tarFiles) open(name string) (io.ReadCloser, int64, error) {
	m, ok := t.members[name]
	for range 8 { // docker save links equal layers to each other
		if !ok || m.link == "" {
			break
		}
		m, ok = t.members[m.link]
	}
	if !ok || m.link != "" {
		return nil, 0, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return openMember{io.NewSectionReader(t.f, m.off, m.size)}, m.size, nil
}

// An openMember is read like a file of its own.
type openMember struct{ *io.SectionReader }

func (openMember) Close() error { return nil }

// share lets one more Image close the archive.
func (t *tarFiles) share() { t.users.Add(1) }

// Close closes the archive when its last user does.
func (t *tarFiles) Close() error {
	if t.users.Add(-1) >= 0 {
		return nil
	}
	return t.f.Close()
}
