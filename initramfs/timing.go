package initramfs

import (
	"strings"
)

// mark logs, where abupdate.timing asks for it, that a phase of the boot ends:
// its name and what /proc/uptime says then, the seconds since the kernel's
// start and those that all processors together had nothing to do. What they
// did between two marks is counted with all its interrupts and kernel threads,
// dm-verity's among them, which no count of this process would have.
func (b *boot) mark(phase string) {
	if !b.cmdline.Timing {
		return
	}
	text, err := readFile(b.path("/proc/uptime"))
	if err != nil {
		return
	}
	b.sys.Log(false, "timing: "+phase+" "+strings.TrimSpace(string(text)))
}
