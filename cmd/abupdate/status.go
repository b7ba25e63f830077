package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
)

func newStatus(a *app) *cobra.Command {
	var disk string
	var exitCode bool
	var trusted []string
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: groupDevice,
		Short:   "Show what is booted, pending, and there to roll back to",
		Long: `Shows the slots: what is booted, what is pending (staged, or booted and not yet
confirmed) or held (apply --stage-only), what rollback would go to, and the version
below which apply refuses an update. When the device does not run what it was told
to run, "fallback" says why.`,
		Example: lines("abupdate status", "abupdate status --json --disk disk.raw"),
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			sys, err := updater.Open(updater.OpenOptions{Disk: disk, Trust: trusted})
			if err != nil {
				return err
			}
			defer sys.Close()
			st, err := sys.Status()
			if err != nil {
				return err
			}
			if err := a.print(st, func(w io.Writer) { printStatus(w, st) }); err != nil {
				return err
			}
			if exitCode && st.Fallback != nil {
				return fault.Wrap(fault.Fallback, errSilent)
			}
			return nil
		},
	}
	diskFlag(cmd, &disk)
	trustFlag(cmd, &trusted)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 10 when the device runs on a fallback")
	return cmd
}

func printStatus(w io.Writer, st *updater.Status) {
	fmt.Fprintf(w, "disk\t%s\n", st.Disk)
	for _, role := range []struct {
		name string
		slot *bootctl.Slot
	}{{"booted", st.Booted}, {"next", &st.Next}, {"pending", st.Pending}, {"held", st.Held}, {"rollback", st.Rollback}} {
		if role.slot != nil {
			fmt.Fprintf(w, "%s\t%v\t%s\n", role.name, *role.slot, st.Slots[role.slot.String()].Version)
		}
	}
	if sel := st.Selector; sel != nil {
		starts := "starts no other"
		if sel.Kexec {
			starts = "starts a slot's own by kexec"
		}
		if sel.Due {
			starts += "; an update to " + strings.TrimSpace(sel.SlotVersion+" "+short(sel.Slot)) + " is due"
		}
		fmt.Fprintf(w, "selector\t%s\tkernel %s\t%s\t%s\n", orDash(sel.Version), sel.Kernel, starts, short(sel.Digest))
	}
	if r := st.Overlay; r != nil {
		fmt.Fprintf(w, "overlay\t%s of %s in use\n", bytesText(r.Used), bytesText(r.Total))
	}
	if st.Fallback != nil {
		fmt.Fprintf(w, "fallback\t%s\n", *st.Fallback)
	}
	if st.Floor != "" {
		fmt.Fprintf(w, "floor\t%s\n", st.Floor)
	}
	if st.Reset != bootctl.ResetNone {
		fmt.Fprintf(w, "factory reset\t%s\n", st.Reset)
	}
	fmt.Fprintln(w, "\nslot\tstate\tversion\ttries\torder\tkernel\troot hash\tdigest\timage")
	for _, name := range []string{"a", "b", "recovery"} {
		if s, ok := st.Slots[name]; ok {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\n", name, s.State, orDash(s.Version), s.TriesLeft, s.Order,
				orDash(s.Kernel), orDash(short(s.RootHash)), orDash(short(s.Digest)), orDash(s.Image))
		}
	}
	for _, name := range []string{"a", "b", "recovery"} {
		s, ok := st.Slots[name]
		if ok && (s.SignedBy != "" || s.SignatureProblem != "") {
			printSignatures(w, "slot "+name+": signatures", s.SignatureStatus)
		}
		if s.Kept {
			fmt.Fprintf(w, "slot %s: not confirmed for many boots, and it goes on booting: there is no other good slot\n", name)
		}
		if s.LastFailure != "" {
			fmt.Fprintf(w, "slot %s: last failure: %s\n", name, s.LastFailure)
		}
		if s.Problem != "" {
			fmt.Fprintf(w, "slot %s: %s\n", name, s.Problem)
		}
	}
}

// short cuts a hash for a table.
func short(hash string) string {
	hash = strings.TrimPrefix(hash, "sha256:")
	return hash[:min(len(hash), 12)]
}

func joinSlots(slots []bootctl.Slot) string {
	names := make([]string, len(slots))
	for i, s := range slots {
		names[i] = s.String()
	}
	return strings.Join(names, ", ")
}
