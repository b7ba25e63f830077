package initramfs

import (
	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/recovery"
)

// Internals that have tests of their own.
var (
	Resolve         = resolve
	FindProgram     = findProgram
	ReadFile        = readFile
	NewDirFS        = newDirFS
	DecodeEFIString = decodeEFIString
	SplitCmdline    = splitCmdline
	NewCmdline      = newCmdline
	InForce         = inForce
	ProbeKind       = func(dev interface {
		ReadAt([]byte, int64) (int, error)
		WriteAt([]byte, int64) (int, error)
		Size() int64
		Sync() error
	}) (kind string, size int64, clean bool, err error) {
		f, err := probe(dev)
		return f.kind, f.size, f.clean, err
	}
)

// NewMachine is a System of the machine that the tests run on.
func NewMachine() System { return newMachine() }

// OpenConsoles opens terminals as consoles; closing them gives them back.
func OpenConsoles(paths ...string) (c recovery.Console, closeAll func()) {
	cs := &consoles{keys: make(chan byte, 64)}
	for _, p := range paths {
		cs.open(p)
	}
	return cs, cs.close
}

// RemoveAll empties a directory as the initramfs is emptied.
func RemoveAll(dir string) error {
	var st unix.Stat_t
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err == nil {
		removeAll(fd, uint64(st.Dev))
	}
	return err
}

// SettleThread is Settle, and what SwitchRoot does of it for its own thread.
func SettleThread() (settle, unsettle func()) {
	m := newMachine()
	return m.Settle, m.unsettle
}
