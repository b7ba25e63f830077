package updater

import "golang.org/x/sys/unix"

// overlayDir is where abinit has the file system that takes what is written to
// the root until the reboot.
const overlayDir = "/run/abupdate/overlay"

// Room is how much of a file system is in use, in bytes.
type Room struct {
	Used  int64 `json:"used_bytes"`
	Total int64 `json:"total_bytes"`
}

// roomOf returns nil for what is not there.
func roomOf(dir string) *Room {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil
	}
	return &Room{Used: int64(st.Blocks-st.Bfree) * st.Bsize, Total: int64(st.Blocks) * st.Bsize}
}
