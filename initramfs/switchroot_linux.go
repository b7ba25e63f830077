package initramfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SwitchRoot makes root the file system's root, empties the initramfs to give
// its memory back, and runs init. The mounts that init needs must stand below
// root already. u-root's mount.SwitchRoot runs init with an empty environment
// and no arguments; the kernel's words for it would be lost.
func (m *machine) SwitchRoot(root, init string, args, env []string) error {
	old, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the initramfs: %w", err)
	}
	if err := os.Chdir(root); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("moving %s to /: %w", root, err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	emptyInitramfs(old)
	if m.consoles != nil {
		m.consoles.close()
		m.consoles = nil
	}
	m.unsettle()
	err = unix.Exec(init, append([]string{init}, args...), env)
	return fmt.Errorf("running %s: %w", init, err)
}

// emptyInitramfs removes what is in the old root directory, if it is one in
// memory: nothing else may ever be emptied by mistake.
func emptyInitramfs(old int) {
	var fs unix.Statfs_t
	var st unix.Stat_t
	inMemory := unix.Fstatfs(old, &fs) == nil && (fs.Type == unix.RAMFS_MAGIC || fs.Type == unix.TMPFS_MAGIC)
	if !inMemory || unix.Fstat(old, &st) != nil {
		unix.Close(old)
		return
	}
	removeAll(old, uint64(st.Dev))
}

// removeAll removes what is below the open directory dir and on its device,
// and closes dir. What cannot be removed only costs memory.
func removeAll(dir int, dev uint64) {
	d := os.NewFile(uintptr(dir), "initramfs")
	defer d.Close()
	entries, _ := d.ReadDir(-1)
	for _, e := range entries {
		name := e.Name()
		if !e.IsDir() {
			unix.Unlinkat(dir, name, 0)
			continue
		}
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil || uint64(st.Dev) != dev {
			unix.Close(fd) // a mount: leave what is in it alone
			continue
		}
		removeAll(fd, dev)
		unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	}
}
