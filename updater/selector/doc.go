// Package selector brings the selector on the ESP, which the firmware starts
// and which then chooses a slot, to the one that a confirmed slot brings.
//
// With EFI variables a new selector is tried once before it becomes the
// default:
//
//	new file, synced -> Boot#### -> BootNext -> the next boot comes from it and
//	its slot is confirmed -> BootOrder -> two boots later: the fallback path
//
// [Look] finds out what is there, [Plan] decides from that alone, and [Run]
// carries out what it decided, one step after the other. A cut between any two
// steps leaves a selector that is known to be good in front, or behind one
// trial; the next Plan goes on from what it finds.
package selector

import (
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// Files is an ESP. Names are paths with slashes, in any case, as FAT has them.
// What was written, renamed or removed is on the disk after Sync only.
type Files interface {
	// List lists the files of a folder; one that is not there has none.
	List(dir string) ([]File, error)
	// Open opens a file; the error wraps fs.ErrNotExist when it is not there.
	Open(name string) (io.ReadCloser, error)
	// Create writes a new file and the folders that it needs.
	Create(name string, r io.Reader) error
	// Sync syncs a file, and SyncDir the names in a folder.
	Sync(name string) error
	SyncDir(name string) error
	// Rename gives a file another name, in place of a file that has it, whose
	// clusters are not free before that is on the disk.
	Rename(from, to string) error
	Remove(name string) error
	// Room is what new files may take.
	Room() (Room, error)
}

// A File is one of the ESP.
type File struct {
	Name string // path
	Size int64
}

// Room is what is free on an ESP, in bytes; a file takes whole clusters.
type Room struct{ Free, Cluster int64 }

// takes is what a file of so many bytes takes.
func (r Room) takes(size int64) int64 {
	c := max(r.Cluster, 1)
	return (size + c - 1) / c * c
}

// Variables are the firmware's, of the vendor that their names end with. A
// write is done whole or not at all, and stays when Set has returned.
type Variables interface {
	// Get returns a variable without its attributes; the error wraps
	// fs.ErrNotExist when it is not there.
	Get(name string) ([]byte, error)
	Set(name string, data []byte) error
	Delete(name string) error
	List() ([]string, error)
}

// Vendors of variables.
const (
	global = "-8be4df61-93ca-11d2-aa0d-00e098032b8c" // UEFI specification, 3.3
	loader = "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f" // systemd's Boot Loader Interface
	own    = "-7b0c5f6e-2d0e-4c35-9d6b-61b1f0a6c3d4"
)

// Names of variables.
const (
	varOrder  = "BootOrder" + global
	varNext   = "BootNext" + global
	varBooted = "BootCurrent" + global
	varImage  = "LoaderImageIdentifier" + loader
	// VarPartition is the partition that the firmware started the selector
	// from.
	VarPartition = "LoaderDevicePartUUID" + loader
	varRecord    = "AbupdateSelector" + own
)

// Dir is the folder of the ESP that is abupdate's own.
const Dir = "EFI/abupdate"

// Replacement is what is written to take the place of a file. The name is a
// short one in the same folder, so that FAT has both in one sector, which a
// disk writes whole: a cut in the rename leaves one file or the other, never
// two names of the same clusters.
func Replacement(name string) string {
	return strings.TrimSuffix(name, path.Ext(name)) + ".NEW"
}

// Path is the name of the selector with the given digest.
func Path(digest string) string { return fmt.Sprintf("%s/selector-%.12s.efi", Dir, digest) }

var ownName = regexp.MustCompile(`(?i)^EFI/abupdate/selector-[0-9a-f]{12}\.efi$`)

// isOwn says whether abupdate wrote the file.
func isOwn(name string) bool { return ownName.MatchString(name) }

// same compares names as FAT does.
func same(a, b string) bool { return strings.EqualFold(a, b) }
