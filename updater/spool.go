package updater

import "os"

// SpoolDir is where a device keeps a compressed layer that it must read twice:
// on disk, because /tmp may be memory.
const SpoolDir = "/var/lib/abupdate/spool"

// spoolDir returns a folder for a compressed layer and empties it: a power cut
// may have left one behind. It is called with the lock held, so nobody else
// uses it. "" is the system's temporary folder, for a disk that this machine
// did not boot from.
func (s *System) spoolDir(opt ApplyOptions) string {
	switch {
	case opt.Source.Registry.SpoolDir != "":
		return opt.Source.Registry.SpoolDir
	case opt.Config.SpoolDir != "":
		return opt.Config.SpoolDir
	case s.spool == "" || s.booted == nil || opt.DryRun:
		return ""
	}
	if os.RemoveAll(s.spool) != nil || os.MkdirAll(s.spool, 0o700) != nil {
		return "" // a read-only /var: not every image needs a spool
	}
	return s.spool
}
