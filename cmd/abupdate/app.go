package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/abupdate/abupdate/updater"
)

// app is what the commands share: where to print, and the global flags.
type app struct {
	stdout, stderr io.Writer
	json, quiet    bool
	started        bool // a command's own code was reached
	progress       meter
}

// print shows a result: v as JSON with --json, else what text writes. An error
// is about that only, whatever kind the file has that stdout is: what was
// ordered is done.
func (a *app) print(v any, text func(w io.Writer)) error {
	a.progress.finish()
	if !a.json {
		tw := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
		text(tw)
		return printError(tw.Flush())
	}
	return a.printLine(v)
}

func printError(err error) error {
	if err == nil {
		return nil
	}
	return fault.Errorf(fault.Other, "printing the result: %w", err)
}

// printLine prints v as one line of JSON.
func (a *app) printLine(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	_, err = fmt.Fprintf(a.stdout, "%s\n", b)
	return printError(err)
}

// complain prints an error as one line. That of a command need not name the
// program twice.
func (a *app) complain(err error) {
	fmt.Fprintf(a.stderr, "abupdate: %s\n", strings.TrimPrefix(oneLine(err), "abupdate "))
}

// waiting tells why nothing happens for a while, or what goes on elsewhere.
func (a *app) waiting(cause error, wait time.Duration) {
	note := oneLine(cause)
	if wait > 0 {
		note += fmt.Sprintf("; trying again in %v", wait.Round(time.Second))
	}
	a.progress.report.Tell(updater.Event{Note: note})
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "abupdate",
		Short: "A/B updates of embedded Linux from OCI images",
		Long: `abupdate turns OCI images into bootable A/B disks and updates, and keeps such a
disk up to date: an update goes into the slot that is not running, boots with a
limited number of tries, and falls back by itself when nobody confirms it.`,
		Args:          exactly(),
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRun: func(cmd *cobra.Command, _ []string) {
			a.started = true
			a.progress.start(a)
			cmd.SetContext(wire.WithNotice(cmd.Context(), a.waiting))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		text := err.Error()
		var num *strconv.NumError
		if errors.As(err, &num) {
			text = strings.Replace(text, num.Error(), "not a whole number", 1)
		}
		return fault.Errorf(fault.Usage, "%s (see %s --help)", text, cmd.CommandPath())
	})
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print the result as JSON on stdout, and progress as JSON lines on stderr")
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "show no progress")
	root.AddGroup(
		&cobra.Group{ID: groupBuild, Title: "Making images:"},
		&cobra.Group{ID: groupDevice, Title: "On a device, or with --disk on a disk image:"},
	)
	root.AddCommand(
		newBuild(a), newImage(a), newInstall(a), newInitramfs(a), newInspect(a), newSign(a), newKey(a), newLint(a), newDiff(a),
		newApply(a), newStatus(a), newHealth(a), newMarkGood(a), newMarkBad(a), newRollback(a), newVerify(a), newSelector(a), newWatchdog(a), newEtc(a), newFactoryReset(a),
		newDemo(a), newMan(a), newDocs(a),
	)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion": // else it takes any word for a shell, and prints its help
			cmd.Args, cmd.RunE = exactly(), func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		case "help": // else it takes any word for a command, and prints the root's help
			cmd.Run, cmd.RunE = nil, helpOf
		}
	}
	return root
}

// helpOf shows the help of the command that args name.
func helpOf(cmd *cobra.Command, args []string) error {
	found, rest, err := cmd.Root().Find(args)
	if err != nil {
		return fault.Wrap(fault.Usage, err)
	}
	if len(rest) > 0 {
		return fault.Errorf(fault.Usage, "unknown command %q (see %s --help)", rest[0], found.CommandPath())
	}
	found.InitDefaultHelpFlag()
	return found.Help()
}

// Groups of commands in the help text.
const (
	groupBuild  = "build"
	groupDevice = "device"
)

// exactly wants one argument for each name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return fault.Errorf(fault.Usage, "%s: no %s given (see %[1]s --help)", cmd.CommandPath(), names[len(args)])
		}
		return atMost(names...)(cmd, args)
	}
}

// atLeast wants one argument or more.
func atLeast(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return exactly(name)(cmd, args)
		}
		return nil
	}
}

// atMost wants at most one argument for each name.
func atMost(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) <= len(names) {
			return nil
		}
		if cmd.HasSubCommands() {
			return fault.Errorf(fault.Usage, "unknown command %q (see %s --help)", args[len(names)], cmd.CommandPath())
		}
		return fault.Errorf(fault.Usage, "%s: unexpected argument %q", cmd.CommandPath(), args[len(names)])
	}
}
