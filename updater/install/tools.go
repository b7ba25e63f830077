package install

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/abupdate/abupdate/initramfs/build"
	"github.com/abupdate/abupdate/internal/fault"
)

// BootOptions says how the selector is made.
type BootOptions struct {
	// Init is the abinit binary; "" is abinit beside this program, else
	// /usr/lib/abupdate/abinit.
	Init string
	// Stub is the EFI stub of the UKI; "" is systemd's, StubNone leaves the
	// ESP empty: only a kernel started directly boots then.
	Stub string
	// SBKey and SBCert are the files that the UKI is signed with for Secure
	// Boot; "" for not at all.
	SBKey, SBCert string
	// Trust are files and folders with public keys for the initramfs, which
	// then starts only what one of them has signed; AllowLocal lets it start
	// unsigned slots all the same, and refuse those that are wrongly signed.
	Trust      []string
	AllowLocal bool
	// Append is added to the kernel's command line.
	Append []string
	// Quiet keeps the kernel's messages off the console.
	Quiet bool
	// Export is a folder that gets vmlinuz, initramfs.img and cmdline, to
	// start the kernel directly; "" for none.
	Export string
}

// StubNone as BootOptions.Stub makes no UKI.
const StubNone = "none"

const installedInit = "/usr/lib/abupdate/abinit"

// tools are what the selector is made of besides the image's kernel.
type tools struct {
	init, stub []byte        // no stub: no UKI
	signer     *build.Signer // nil: the UKI is not signed
	trust      baked
}

// findTools reads them, so that a missing one is known before a disk is made.
func findTools(opt BootOptions, arch string) (tools, error) {
	var t tools
	init, err := findInit(opt.Init)
	if err != nil {
		return t, err
	}
	if t.init, err = os.ReadFile(init); err != nil {
		return t, fault.Errorf(fault.Usage, "reading the initramfs's init: %w", err)
	}
	if err := checkInit(t.init, arch); err != nil {
		return t, fault.Errorf(fault.Usage, "the initramfs's init cannot be %s: %w", init, err)
	}
	if t.trust, err = readTrust(opt); err != nil {
		return t, err
	}
	if t.signer, err = readSigner(opt); err != nil || opt.Stub == StubNone {
		return t, err
	}
	stub := opt.Stub
	if stub == "" {
		if stub, err = systemdStub(arch); err != nil {
			return t, err
		}
	}
	if t.stub, err = os.ReadFile(stub); err != nil {
		return t, fault.Errorf(fault.Usage, "reading the EFI stub: %w (Debian package systemd-boot-efi, or --stub %s)", err, StubNone)
	}
	return t, nil
}

func findInit(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("looking for abinit: %w", err)
	}
	beside := filepath.Join(filepath.Dir(self), "abinit")
	for _, path := range []string{beside, installedInit} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fault.Errorf(fault.Usage, "looking for abinit: it is neither %s nor %s; name it with --init", beside, installedInit)
}

// checkInit says whether a kernel can start a program that is alone in an
// initramfs.
func checkInit(program []byte, arch string) error {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return errors.New("it is not a program")
	}
	if want, ok := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[arch]; ok && f.Machine != want {
		return fmt.Errorf("it is for %v, and the image for %s", f.Machine, arch)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("it is not statically linked")
		}
	}
	return nil
}

func systemdStub(arch string) (string, error) {
	suffix, ok := map[string]string{"amd64": "x64", "arm64": "aa64"}[arch]
	if !ok {
		return "", fault.Errorf(fault.Usage, "no EFI stub is known for architecture %s", arch)
	}
	return "/usr/lib/systemd/boot/efi/linux" + suffix + ".efi.stub", nil
}
