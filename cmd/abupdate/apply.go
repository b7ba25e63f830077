package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
)

// applyCall is what one call of apply is told.
type applyCall struct {
	opt                      updater.ApplyOptions
	source                   sourceFlags
	trusted                  []string
	disk                     string
	reboot, toSwitch, cancel bool
}

func newApply(a *app) *cobra.Command {
	var call applyCall
	cmd := &cobra.Command{
		Use:     "apply [REF]",
		GroupID: groupDevice,
		Short:   "Write an image or update into the other slot and stage it",
		Long: `Writes an update, or an ordinary image, into the slot that is not running, reads
it back, and lets the next boot try it. When this fails, or is interrupted at any
moment, the next boot is what it was before; called again it goes on where it
stopped.

REF is an image or an update that build made: docker://HOST/REPO:TAG or @DIGEST
(also bare), oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE, or the layout
at https://HOST/PATH[:TAG]. Without REF it is "image" of /etc/abupdate/config.toml and
config.d/*.toml, else where the running slot came from. Of an image that an update
was made of and pushed beside it (build --push to the image's repository) the update
is taken: --flatten takes the image.

Refused: while the running slot is not confirmed, an image that failed on this
device before, a lower version, another architecture, kernel or "compatible". Of
an ordinary image the kernel, and the version if no label says it, are known when
its layers have been read, and so have been written: when it is refused then, the
other slot is empty. --check-first reads the layers before, and twice. Layers
whose files the running slot has are not fetched.

The version floor is the highest version that was ever confirmed here; status shows
it. A lower one is refused also when an older system runs, after a rollback say.
--allow-downgrade takes it, and when it is confirmed it becomes the floor.

In two steps: --stage-only fills and checks the other slot and leaves the next boot
as it is (the slot is "held"); --switch, any time later and without a network, lets
the next boot try it; so does apply of the same image, which then fetches nothing of
it. --cancel takes back what is held, or staged and not booted yet; wanted again, it
is not fetched again. Exit code 77 when there is nothing to switch to or to cancel.`,
		Example: lines(
			"abupdate apply",
			"abupdate apply registry.example/os-update:12.8 --reboot",
			"abupdate apply --stage-only && abupdate apply --switch --reboot",
			"abupdate apply --cancel",
			"abupdate apply oci:updates:12.8 --disk disk.raw"),
		Args: atMost("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := call.check(args); err != nil {
				return err
			}
			return a.apply(cmd, call)
		},
	}
	call.flags(cmd)
	return cmd
}

func (c *applyCall) flags(cmd *cobra.Command) {
	fs, opt := cmd.Flags(), &c.opt
	diskFlag(cmd, &c.disk)
	trustFlag(cmd, &c.trusted)
	fs.BoolVar(&c.reboot, "reboot", false, "reboot into the new system when it is staged")
	fs.BoolVar(&opt.DryRun, "dry-run", false, "check all that can be checked and write nothing")
	fs.BoolVar(&opt.CheckFirst, "check-first", false, "read the headers of an ordinary image before the other slot is touched; its layers are fetched twice")
	fs.BoolVar(&opt.Flatten, "flatten", false, "take an ordinary image itself, also when an update made of it is beside it")
	fs.BoolVar(&opt.Allow.Downgrade, "allow-downgrade", false, "take a version lower than the running one or the floor, which it lowers when it is confirmed")
	fs.BoolVar(&opt.Allow.Denied, "allow-denied", false, "take an image that failed on this device before")
	fs.BoolVar(&opt.Allow.Same, "allow-same", false, "take the image that runs already")
	fs.BoolVar(&opt.StageOnly, "stage-only", false, "leave the next boot as it is: --switch, or apply again, switches")
	fs.BoolVar(&c.toSwitch, "switch", false, "switch to what --stage-only left in the slot")
	fs.BoolVar(&c.cancel, "cancel", false, "take back what is staged or held")
	transferFlags(fs, &opt.Transfer)
	c.source.registry(fs)
	c.source.pack(fs, "layout")
}

// check refuses what does not go together, and completes the options.
func (c *applyCall) check(args []string) (err error) {
	opt := &c.opt
	if len(args) > 0 {
		opt.Ref = args[0]
	}
	switch {
	case c.reboot && c.disk != "":
		return fault.Errorf(fault.Usage, "abupdate apply: --reboot is for the running system, not for --disk")
	case opt.StageOnly && (c.toSwitch || c.cancel) || c.toSwitch && c.cancel:
		return fault.Errorf(fault.Usage, "abupdate apply: --stage-only, --switch and --cancel exclude each other")
	case c.reboot && (opt.StageOnly || c.cancel):
		return fault.Errorf(fault.Usage, "abupdate apply: --reboot goes with neither --stage-only nor --cancel: they change nothing that boots")
	case (c.toSwitch || c.cancel) && (len(args) > 0 || opt.DryRun):
		return fault.Errorf(fault.Usage, "abupdate apply: --switch and --cancel are about what is in the slot: they take no REF and no --dry-run")
	}
	if err := checkTransfer(opt.Transfer); err != nil {
		return err
	}
	if c.toSwitch || c.cancel {
		return nil
	}
	if opt.Source, err = c.source.options(); err != nil {
		return err
	}
	if c.disk == "" {
		opt.Config = c.source.config
	}
	return nil
}

func (a *app) apply(cmd *cobra.Command, c applyCall) error {
	access := updater.Change
	if c.opt.DryRun {
		access = updater.Read
	}
	sys, err := updater.Open(updater.OpenOptions{Disk: c.disk, Access: access, Trust: c.trusted})
	if err != nil {
		return err
	}
	defer sys.Close()
	if c.cancel {
		return a.cancel(sys)
	}
	c.opt.Progress = a.progress.report
	var done *updater.Applied
	if c.toSwitch {
		done, err = sys.Switch(cmd.Context(), c.opt.Allow, c.opt.Progress)
	} else {
		done, err = sys.Apply(cmd.Context(), c.opt)
	}
	if err != nil {
		return err
	}
	return a.applied(done, c.reboot)
}

// applied tells what was done, and reboots if that was ordered: also when
// nobody can be told.
func (a *app) applied(done *updater.Applied, reboot bool) error {
	err := a.print(done, func(w io.Writer) { printApplied(w, done) })
	if err != nil {
		err = fmt.Errorf("version %s %s; %w", done.Version, outcome(done), err)
	}
	if !reboot || done.DryRun {
		return err
	}
	return errors.Join(err, rebootSystem())
}

// outcome says in few words what an apply came to.
func outcome(r *updater.Applied) string {
	switch {
	case r.DryRun:
		return "could be applied"
	case r.Held:
		return fmt.Sprintf("is held in slot %v", r.Slot)
	}
	return fmt.Sprintf("is staged in slot %v", r.Slot)
}

// cancel takes back what waits in a slot.
func (a *app) cancel(sys *updater.System) error {
	done, err := sys.Cancel()
	if err != nil {
		return err
	}
	return a.print(done, func(w io.Writer) {
		fmt.Fprintf(w, "version %s in slot %v is taken back; slot %v boots next\n", orDash(done.Version), done.Slot, done.Next)
	})
}

func printApplied(w io.Writer, r *updater.Applied) {
	next := "staged for the next boot"
	if r.Held {
		next = "held: abupdate apply --switch lets the next boot try it"
	}
	switch {
	case r.DryRun:
		fmt.Fprintf(w, "would write version %s into slot %v; nothing was changed\n", r.Version, r.Slot)
	case r.Reused:
		fmt.Fprintf(w, "slot %v holds version %s already, intact; it is %s\n", r.Slot, r.Version, next)
	default:
		fmt.Fprintf(w, "version %s is in slot %v and %s\n", r.Version, r.Slot, next)
	}
	fmt.Fprintf(w, "image\t%s\n", r.Image)
	fmt.Fprintf(w, "digest\t%s\n", r.Digest)
	if r.UpdateOf != "" {
		fmt.Fprintf(w, "update of\t%s, found beside it\n", r.UpdateOf)
	}
	if r.RootHash != "" {
		fmt.Fprintf(w, "root hash\t%s\n", r.RootHash)
	}
	if r.ImageBytes != 0 {
		fmt.Fprintf(w, "size\t%s, %s of it there before\n", bytesText(r.ImageBytes), bytesText(r.KeptBytes))
	}
	if r.SignedBy != "" {
		fmt.Fprintf(w, "signed by\t%s\n", r.SignedBy)
	}
	printTransfer(w, r)
	if r.LocalLayers != 0 {
		fmt.Fprintf(w, "layers\t%d of the image, %s compressed, from the slot that runs\n", r.LocalLayers, bytesText(r.LocalBytes))
	}
	printDropped(w, r.Dropped)
}

// printTransfer tells what came, or would come, over the line.
func printTransfer(w io.Writer, r *updater.Applied) {
	if r.CopiedBytes == 0 && r.FetchedBytes == 0 {
		return
	}
	copied, fetched := "copied", "fetched"
	if r.DryRun {
		copied, fetched = "would copy", "would fetch"
	}
	if n := r.CopiedBytes - r.KeptBytes; n > 0 {
		fmt.Fprintf(w, "%s\t%s from other slots\n", copied, bytesText(n))
	}
	requests := ""
	if n := r.FetchedRanges; n > 0 {
		requests = " in " + counted(n, "request")
	}
	metadata := ""
	if r.MetadataBytes > 0 {
		metadata = fmt.Sprintf(", and %s of metadata", bytesText(r.MetadataBytes))
	}
	fmt.Fprintf(w, "%s\t%s%s%s\n", fetched, bytesText(r.FetchedBytes), requests, metadata)
}
