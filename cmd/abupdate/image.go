package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/install"
)

// diskText explains what image and install make.
const diskText = `The disk has an ESP with the selector (the image's kernel with abupdate's
initramfs), the boot state, two slots, a recovery slot and /var. Slot A holds the
image and counts as good; the recovery slot holds the golden image, which is the
same image unless --recovery says otherwise.

Slots are by default large enough for the image as if nothing could be
compressed, in steps of 64 MiB, so that the image streams into its slot and later
versions have room to grow; --slot-size or --layout decide it otherwise.

IMAGE, and that of --recovery, may also be an update that build made: it goes into
the slots as it is, with its signatures. With --trust the selector starts only what
one of those keys has signed: an update that is, or an image whose slots --sign-key
signs here. --allow-local lets it start unsigned slots as well.

`

func newImage(a *app) *cobra.Command {
	var f diskFlags
	var output, format string
	cmd := &cobra.Command{
		Use:     "image IMAGE -o DISK",
		GroupID: groupBuild,
		Short:   "Make a bootable disk image out of an image",
		Long:    "Makes a disk image file that boots by UEFI. It needs no privileges.\n\n" + diskText + imageRefs,
		Example: lines(
			"abupdate image docker://registry.example/os:12.7 -o disk.raw",
			"abupdate image oci:layout:v1 -o disk.qcow2 --format qcow2 --size 8G",
			"abupdate image oci:layout:v1 -o disk.raw --trust vendor.pub --sign-key vendor.key",
			"abupdate image oci:layout:v1 -o disk.raw --recovery none --append quiet --export-boot boot"),
		Args: exactly("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" {
				return fault.Errorf(fault.Usage, "abupdate image: no -o DISK given")
			}
			opt, err := f.options(a, args[0])
			if err != nil {
				return err
			}
			made, err := install.Image(cmd.Context(), opt, output, format)
			if err != nil {
				return err
			}
			return a.print(made, func(w io.Writer) { printInstalled(w, made) })
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&output, "output", "o", "", "disk image `FILE` to make; one that is there is replaced")
	fs.StringVar(&format, "format", install.FormatRaw, "raw or qcow2 (by qemu-img)")
	fs.Var(sizeFlag{&f.opt.Size}, "size", "size of the disk (default: the smallest that holds the layout)")
	f.add(fs)
	return cmd
}

func newInstall(a *app) *cobra.Command {
	var f diskFlags
	var to string
	var yes bool
	cmd := &cobra.Command{
		Use:     "install IMAGE --to DEVICE --yes",
		GroupID: groupBuild,
		Short:   "Install an image onto a disk; what is on it is lost",
		Long:    "Makes the same disk as image does, on a block device.\n\n" + diskText + imageRefs,
		Example: lines("abupdate install docker://registry.example/os:12.7 --to /dev/nvme0n1 --yes"),
		Args:    exactly("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to == "" {
				return fault.Errorf(fault.Usage, "abupdate install: no --to DEVICE given")
			}
			if !yes {
				return fault.Errorf(fault.Usage, "abupdate install: everything on %s will be lost: add --yes", to)
			}
			opt, err := f.options(a, args[0])
			if err != nil {
				return err
			}
			made, err := install.Device(cmd.Context(), opt, to)
			if err != nil {
				return err
			}
			return a.print(made, func(w io.Writer) { printInstalled(w, made) })
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&to, "to", "", "block `DEVICE` to install onto")
	fs.BoolVar(&yes, "yes", false, "yes, all data on the device may be lost")
	f.add(fs)
	return cmd
}

// diskFlags are those of image and install.
type diskFlags struct {
	opt    install.Options
	source sourceFlags
	sign   keyFlags
}

func (f *diskFlags) add(fs *pflag.FlagSet) {
	fs.Var(sizeFlag{&f.opt.SlotSize}, "slot-size", "size of each slot")
	fs.StringVar(&f.opt.Layout, "layout", "", "TOML `FILE` with the sizes of esp, slot, recovery, var, and further partitions")
	fs.StringVar(&f.opt.Recovery, "recovery", "", "same, none, or the reference of another `IMAGE` (default same)")
	fs.BoolVar(&f.opt.BothSlots, "both-slots", false, "put the image into slot B too")
	f.sign.add(fs)
	addBootFlags(fs, &f.opt.Boot)
	fs.StringVar(&f.opt.Boot.Export, "export-boot", "", "`DIR` for vmlinuz, initramfs.img and cmdline, to start the kernel directly")
	f.source.registry(fs)
	f.source.pack(fs, "squashfs-layout")
}

func addBootFlags(fs *pflag.FlagSet, opt *install.BootOptions) {
	fs.StringVar(&opt.Init, "init", "", "abinit, the initramfs's init (default: beside this program, else /usr/lib/abupdate/abinit)")
	fs.StringVar(&opt.Stub, "stub", "", "EFI stub of the selector (default: systemd's; none leaves the ESP empty)")
	fs.StringVar(&opt.SBKey, "sb-key", "", "sign the selector for Secure Boot with the RSA key in this PEM `FILE`")
	fs.StringVar(&opt.SBCert, "sb-cert", "", "certificate of that key, which the firmware's db has: PEM or DER `FILE`")
	fs.StringArrayVar(&opt.Trust, "trust", nil, "`PUB` file or folder of public keys for the initramfs, which then starts only what one of them signed; may be repeated")
	fs.BoolVar(&opt.AllowLocal, "allow-local", false, "let an initramfs with keys start unsigned slots too: those that a device makes of ordinary images")
	fs.StringArrayVar(&opt.Append, "append", nil, "add `ARGS` to the kernel's command line; may be repeated")
	fs.BoolVar(&opt.Quiet, "quiet-boot", false, "keep the kernel's messages off the console")
}

func (f *diskFlags) options(a *app, ref string) (install.Options, error) {
	opt := f.opt
	opt.Ref, opt.Progress = ref, a.progress.report
	var err error
	if opt.SignKeys, err = f.sign.read(a.stderr); err != nil {
		return opt, err
	}
	opt.Source, err = f.source.options()
	return opt, err
}

func printInstalled(w io.Writer, in *install.Installed) {
	fmt.Fprintf(w, "disk\t%s, %s, slots of %s\n", in.Disk, bytesText(in.DiskBytes), bytesText(in.SlotBytes))
	fmt.Fprintf(w, "slots filled\t%s\n", joinSlots(in.Slots))
	printManifest(w, &in.Manifest)
	fmt.Fprintf(w, "initramfs\t%s\n", bytesText(in.InitramfsBytes))
	if in.LoaderBytes != 0 {
		fmt.Fprintf(w, "selector\t%s\n", bytesText(in.LoaderBytes))
	}
	for _, id := range in.Trusted {
		fmt.Fprintf(w, "trusted key\t%s\n", id)
	}
	fmt.Fprintf(w, "command line\t%s\n", in.Cmdline)
	if in.BootDir != "" {
		fmt.Fprintf(w, "kernel\t%s/%s and %s\n", in.BootDir, install.KernelFile, install.InitramfsFile)
	}
	printDropped(w, in.Dropped)
}
