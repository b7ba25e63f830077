package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/install"
)

func newInitramfs(a *app) *cobra.Command {
	var opt install.InitramfsOptions
	var source sourceFlags
	cmd := &cobra.Command{
		Use:     "initramfs IMAGE (-o FILE | --uki FILE)",
		GroupID: groupBuild,
		Short:   "Make only the initramfs or the selector for an image's kernel",
		Long: `Makes the initramfs for the kernel of an image: abinit and the modules it loads.
The same input gives the same bytes. --uki makes the selector: kernel, initramfs
and command line as one EFI program, signed for Secure Boot where a key is given.

` + imageRefs,
		Example: lines(
			"abupdate initramfs oci:layout:v1 -o initramfs.img",
			"abupdate initramfs oci:layout:v1 --uki BOOTX64.EFI --append 'console=ttyS0 panic=5'",
			"abupdate initramfs oci:layout:v1 --uki BOOTX64.EFI --sb-key db.key --sb-cert db.pem"),
		Args: exactly("IMAGE"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if opt.Output == "" && opt.UKI == "" {
				return fault.Errorf(fault.Usage, "abupdate initramfs: neither -o FILE nor --uki FILE given")
			}
			opt.Ref, opt.Progress = args[0], a.progress.report
			if opt.Source, err = source.options(); err != nil {
				return err
			}
			made, err := install.Initramfs(cmd.Context(), opt)
			if err != nil {
				return err
			}
			return a.print(made, func(w io.Writer) {
				fmt.Fprintf(w, "kernel\t%s\n", made.Kernel)
				fmt.Fprintf(w, "initramfs\t%s, %d modules\n", bytesText(made.Bytes), len(made.Modules))
				fmt.Fprintf(w, "sha256\t%s\n", made.SHA256)
				if made.UKI != "" {
					fmt.Fprintf(w, "selector\t%s, %s\n", made.UKI, bytesText(made.UKIBytes))
				}
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&opt.Output, "output", "o", "", "initramfs `FILE` to make")
	fs.StringVar(&opt.UKI, "uki", "", "EFI program `FILE` to make")
	addBootFlags(fs, &opt.Boot)
	source.registry(fs)
	return cmd
}
