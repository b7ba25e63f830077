package selector

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Mount is an ESP that the kernel has mounted.
type Mount struct{ root *os.Root }

// espOptions let the kernel go on after an error, as a file is one whose
// clusters a cut has left free: it is to be removed, which a file system that
// has become read-only would never allow.
const espOptions = "umask=0077,errors=continue"

// MountESP mounts a partition, for this process alone: in a folder below dir,
// which is made, from which it is detached at once, so that it is gone with
// the process, however that ends. That it is mounted elsewhere as well does no
// harm.
func MountESP(node, dir string) (*Mount, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("mounting the ESP: %w", err)
	}
	dir, err := os.MkdirTemp(dir, "esp-")
	if err != nil {
		return nil, fmt.Errorf("mounting the ESP: %w", err)
	}
	defer os.Remove(dir)
	if err := unix.Mount(node, dir, "vfat", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, espOptions); err != nil {
		return nil, fmt.Errorf("mounting the ESP %s: %w", node, err)
	}
	m, err := OpenDir(dir)
	if detached := unix.Unmount(dir, unix.MNT_DETACH); err == nil && detached != nil {
		m.Close()
		return nil, fmt.Errorf("detaching the ESP from %s: %w", dir, detached)
	}
	return m, err
}

// OpenDir is an ESP that is mounted at dir, or a folder in its place.
func OpenDir(dir string) (*Mount, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the ESP: %w", err)
	}
	return &Mount{root}, nil
}

// Close ends the use of the ESP.
func (m *Mount) Close() error { return m.root.Close() }

// List implements Files.
func (m *Mount) List(dir string) (list []File, err error) {
	entries, err := fs.ReadDir(m.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			list = append(list, File{path.Join(dir, e.Name()), info.Size()})
		}
	}
	return list, err
}

// Open implements Files. The file is read from the disk where the kernel's
// cache lets go of it.
func (m *Mount) Open(name string) (io.ReadCloser, error) {
	f, err := m.root.Open(name)
	if err != nil {
		return nil, err
	}
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	return f, nil
}

// Create implements Files.
func (m *Mount) Create(name string, r io.Reader) error {
	if err := m.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := m.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// Sync implements Files.
func (m *Mount) Sync(name string) error {
	f, err := m.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// SyncDir implements Files: all of the file system, since FAT keeps a folder's
// names, and which clusters are taken, in several places. Of vfat that alone
// does not flush the disk's own cache; the sync of a file after it does.
func (m *Mount) SyncDir(name string) error {
	f, err := m.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever there
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Sync())
}

// Rename implements Files. The kernel frees the clusters of a file that lost
// its name when nobody has it open any more: that is after the sync here.
func (m *Mount) Rename(from, to string) error {
	old, err := m.root.Open(to)
	if err == nil {
		defer old.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := m.root.Rename(from, to); err != nil {
		return err
	}
	return m.SyncDir(path.Dir(to))
}

// Remove implements Files.
func (m *Mount) Remove(name string) error { return m.root.Remove(name) }

// Room implements Files.
func (m *Mount) Room() (Room, error) {
	f, err := m.root.Open(".")
	if err != nil {
		return Room{}, err
	}
	defer f.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return Room{}, fmt.Errorf("asking for the room: %w", err)
	}
	return Room{int64(st.Bavail) * int64(st.Bsize), int64(st.Bsize)}, nil
}

// EFIVars is a mounted efivarfs.
type EFIVars string

// EFIDir is what the kernel shows of firmware with EFI variables.
const EFIDir = "/sys/firmware/efi"

// OpenVariables returns the firmware's variables, nil when it has none that
// the system can see.
func OpenVariables(dir string) Variables {
	if _, err := os.Stat(dir); err != nil {
		return nil
	}
	v := EFIVars(filepath.Join(dir, "efivars"))
	names, err := v.List()
	if err == nil && len(names) == 0 { // not mounted yet
		_ = unix.Mount("efivarfs", string(v), "efivarfs", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "")
		names, err = v.List()
	}
	if err != nil || len(names) == 0 {
		return nil
	}
	return v
}

// attributesSize is what efivarfs puts before a variable's data.
const attributesSize = 4

// Get implements Variables.
func (v EFIVars) Get(name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(string(v), name))
	if err != nil {
		return nil, err
	}
	return b[min(attributesSize, len(b)):], nil
}

// Set implements Variables. The kernel wants attributes and data in one write.
func (v EFIVars) Set(name string, data []byte) error {
	file := filepath.Join(string(v), name)
	if err := mutable(file); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	const stays = 1 | 2 | 4 // non-volatile, for boot services, at run time
	_, err = f.Write(append([]byte{stays, 0, 0, 0}, data...))
	return errors.Join(err, f.Close())
}

// Delete implements Variables.
func (v EFIVars) Delete(name string) error {
	file := filepath.Join(string(v), name)
	if err := mutable(file); err != nil {
		return err
	}
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// immutable is FS_IMMUTABLE_FL of linux/fs.h.
const immutable = 0x10

// mutable takes the flag off a variable that the kernel guards from rm -rf.
func mutable(file string) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	flags, err := unix.IoctlGetUint32(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&immutable == 0 {
		return nil // a file system without flags
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, int(flags&^uint32(immutable))); err != nil {
		return fmt.Errorf("making %s writable: %w", filepath.Base(file), err)
	}
	return nil
}

// List implements Variables.
func (v EFIVars) List() ([]string, error) {
	entries, err := os.ReadDir(string(v))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}
