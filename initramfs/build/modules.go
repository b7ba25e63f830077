package build

import (
	"io/fs"

	"github.com/abupdate/abupdate/initramfs/modules"
	"github.com/abupdate/abupdate/initramfs/unpack"
)

// A ModuleSource holds the files of one /usr/lib/modules/RELEASE folder.
type ModuleSource = modules.Source

// A Module is a kernel module, decompressed.
type Module = modules.Module

// FromFS returns the ModuleSource of an unpacked module folder.
func FromFS(fsys fs.FS) ModuleSource { return modules.FromFS(fsys) }

// ResolveModules is modules.Resolve for modules that may be compressed.
func ResolveModules(src ModuleSource, want []string) ([]Module, error) {
	return modules.Resolve(src, want, unpack.File)
}
