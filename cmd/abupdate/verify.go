package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/updater"
)

func newVerify(a *app) *cobra.Command {
	var disk string
	var trusted []string
	cmd := &cobra.Command{
		Use:     "verify [SLOT...]",
		GroupID: groupDevice,
		Short:   "Read slots from the medium and compare them with their hash trees",
		Long: `Reads every block of the given slots, by default of all, past the page cache and
checks it against the slot's hash tree. Exits with 4 when one is damaged.`,
		Example: lines("abupdate verify", "abupdate verify b --disk disk.raw"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var slots []bootctl.Slot
			for _, arg := range args {
				slot, err := optionalSlot([]string{arg})
				if err != nil {
					return err
				}
				slots = append(slots, slot)
			}
			sys, err := updater.Open(updater.OpenOptions{Disk: disk, Trust: trusted})
			if err != nil {
				return err
			}
			defer sys.Close()
			found, verr := sys.Verify(cmd.Context(), slots, a.progress.report)
			if found == nil {
				return verr
			}
			err = a.print(map[string]any{"slots": found}, func(w io.Writer) {
				for _, v := range found {
					fmt.Fprintf(w, "slot %v\t%s\t%s\t%s\n", v.Slot, v.State, v.Version, v.Problem)
					if v.SignedBy != "" || v.SignatureProblem != "" {
						printSignatures(w, fmt.Sprintf("slot %v: signatures", v.Slot), v.SignatureStatus)
					}
				}
			})
			if verr != nil {
				return verr
			}
			return err
		},
	}
	diskFlag(cmd, &disk)
	trustFlag(cmd, &trusted)
	return cmd
}
