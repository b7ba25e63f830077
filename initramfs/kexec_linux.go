package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// LoadKernel hands kernel and initramfs to the kernel, which checks the
// kernel's signature where it is locked down.
func (m *machine) LoadKernel(file string, initrd func(io.Writer) error, cmdline string) error {
	kernel, err := os.Open(file)
	if err != nil {
		return err
	}
	defer kernel.Close()
	fd, err := unix.MemfdCreate("initrd", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("making a file in memory: %w", err)
	}
	ram := os.NewFile(uintptr(fd), "initrd")
	defer ram.Close()
	w := bufio.NewWriterSize(ram, 256<<10)
	if err := errors.Join(initrd(w), w.Flush()); err != nil {
		return err
	}
	err = unix.KexecFileLoad(int(kernel.Fd()), fd, cmdline, 0)
	return kexecError(err)
}

// kexecError says what kexec_file_load's errors mean.
func kexecError(err error) error {
	for errno, means := range map[unix.Errno]string{
		unix.ENOSYS:       "the running kernel cannot start others (CONFIG_KEXEC_FILE)",
		unix.ENOEXEC:      "the file is not a kernel that can be started so: it is damaged, or compressed as a whole",
		unix.EPERM:        "the running kernel is locked down and starts no others",
		unix.ENOKEY:       "the running kernel is locked down and knows no key that the new one is signed with",
		unix.EKEYREJECTED: "the running kernel is locked down and does not trust the new one's signature",
		unix.EBADMSG:      "the kernel's signature is damaged",
		unix.ENODATA:      "the running kernel is locked down and the new one is not signed",
		unix.ENOMEM:       "not enough memory for another kernel",
	} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%s: %w", means, err)
		}
	}
	return err
}

// StartKernel gives the consoles back and starts what was loaded. The
// watchdog stays armed over it.
func (m *machine) StartKernel() error {
	if os.Getpid() != 1 {
		panic("initramfs: restarting a machine that is not ours")
	}
	if m.consoles != nil {
		m.consoles.close()
		m.consoles = nil
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC); err != nil {
		return fmt.Errorf("going over to the new kernel: %w", err)
	}
	return errors.New("going over to the new kernel: it did not happen")
}
