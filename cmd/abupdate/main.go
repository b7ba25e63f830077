// Command abupdate makes, installs and runs A/B updates: on a build host it
// turns OCI images into updates and bootable disks, on a device it writes them
// into the inactive slot, confirms them and takes them back. docs/cli.md is
// generated from it.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/abupdate/abupdate/internal/fault"
)

func main() {
	staySmall()
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run runs one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	return runContext(ctx, args, stdout, stderr)
}

// endings are the signals that end a command in good order. That the terminal
// is gone ends none that nohup started.
func endings() []os.Signal {
	list := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	return list
}

func runContext(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	a := &app{stdout: stdout, stderr: stderr}
	cmd := newRoot(a)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	a.progress.finish()
	if err == nil {
		return 0
	}
	if !a.started {
		err = fault.Wrap(fault.Usage, err) // cobra did not get to run a command
	}
	kind := fault.KindOf(err)
	if ctx.Err() != nil && !errors.Is(err, errSilent) {
		kind = fault.Canceled
	}
	if !errors.Is(err, errSilent) {
		a.complain(err)
	}
	return int(kind)
}

// errSilent is wrapped by an error that is only an exit code.
var errSilent = errors.New("nothing to say")

// oneLine joins an error's lines, so that every message is one line.
func oneLine(err error) string {
	var parts []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}
