package initramfs

import (
	"io"
	"time"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/verity/dm"
)

// A System is the machine as the boot sequence needs it. Plain files are read
// and written with package os below Root; what changes the kernel's state, or
// needs privileges, or the clock, goes through a method.
type System interface {
	// Root is the directory that stands for "/".
	Root() string
	// Release is the running kernel's release, as uname -r prints it.
	Release() string
	// Args and Environ are what the kernel started this process with: the
	// words of the command line that it did not understand itself.
	Args() []string
	Environ() []string

	// Settle comes once, when there is a /proc: what is to be set for this
	// process.
	Settle()
	// Mount and Unmount take paths below Root, with a leading slash.
	Mount(m Mount) error
	Unmount(target string) error
	// LoadModule gives the kernel a module file with its parameters; one that
	// is loaded already is no error.
	LoadModule(path, params string) error
	// FindDisk looks once for the boot disk and opens it.
	FindDisk(hint partitions.Hint) (*Disk, error)
	// ShowPartition makes the kernel's view of a partition the one of the
	// table, which may have been repaired or grown.
	ShowPartition(d *Disk, p partitions.Partition) error
	// OpenVerity makes a dm-verity device and returns its node.
	OpenVerity(t dm.Target) (string, error)
	// GrowFilesystem grows a mounted file system to size bytes.
	GrowFilesystem(mountpoint, fstype string, size int64) error
	// SyncFilesystem brings a mounted file system to its medium.
	SyncFilesystem(mountpoint string) error
	// Run runs a program and waits for its end, at most until the timeout.
	Run(c Command) (Result, error)
	// Lchown changes the owner of a file or symlink.
	Lchown(path string, uid, gid uint32) error
	// Random fills p with random bytes; it waits a bounded time for them.
	Random(p []byte) error

	// Console is where people are; it is opened by the first call.
	Console() recovery.Console
	// Log writes one line for the kernel log and the console; an urgent one
	// also shows on a quiet console.
	Log(urgent bool, line string)
	// Uptime is the time since some fixed moment.
	Uptime() time.Duration
	// Sleep waits; the watchdog is kept quiet meanwhile.
	Sleep(d time.Duration)
	// ArmWatchdog opens the watchdog with the timeout and says whether there
	// is one. Alive tells it that the sequence goes on.
	ArmWatchdog(timeout time.Duration) (armed bool, err error)
	Alive()
	// BridgeWatchdog leaves the watchdog, which is armed, to a process of its
	// own that keeps it quiet until somebody else opens it, at most for grace.
	BridgeWatchdog(timeout, grace time.Duration) error

	// LoadKernel readies another kernel, out of a file below Root, for
	// StartKernel, which goes over to it and returns only with an error.
	LoadKernel(file string, initrd func(io.Writer) error, cmdline string) error
	StartKernel() error
	// SwitchRoot makes root the root directory and runs init in place of this
	// process. It returns only with an error.
	SwitchRoot(root, init string, args, env []string) error
	// Restart syncs and reboots or powers off. It does not return.
	Restart(how Restart)
}

// A Mount is one call of mount(2).
type Mount struct {
	Source, Target, Type, Data string
	Flags                      MountFlag
}

// MountFlag is a set of mount options.
type MountFlag uint

// The options that the boot sequence uses.
const (
	ReadOnly MountFlag = 1 << iota
	NoSuid
	NoDev
	NoExec
	Bind // Target shows what Source shows
	Move // Source goes away from its place
)

// A Disk is the boot disk.
type Disk struct {
	Path string          // device node, "/dev/vda"
	Dev  blockdev.Device // the whole disk
}

// A Command is a program of the image, run with Root as its root directory.
type Command struct {
	Root    string // with System.Root in front
	Path    string // below the command's own Root
	Args    []string
	Timeout time.Duration
}

// A Result is how a program ended.
type Result struct {
	Exit   int
	Output string // the end of what it printed
}

// Restart says how the machine goes down.
type Restart = recovery.Restart
