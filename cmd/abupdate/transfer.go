package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions/disk"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/transfer"
)

// transferFlags are those of how an update's blocks are fetched.
func transferFlags(fs *pflag.FlagSet, opt *updater.TransferOptions) {
	fs.BoolVar(&opt.Full, "full", false, "fetch all of an update, or of an image, whatever the other slots have of it")
	fs.BoolVar(&opt.NoFull, "no-full", false, "fail where all of an update would have to be fetched, as from a server without ranges")
	fs.Var(gapFlag{sizeFlag{new(disk.Size)}, &opt.Gap}, "gap", fmt.Sprintf("fetch missing blocks of an update together that are this `SIZE` or less apart (default %v)", disk.Size(updater.DefaultGap)))
	fs.IntVar(&opt.MaxRanges, "max-ranges", updater.DefaultRanges, "fetch an update in `N` ranges at most, over wider gaps if need be")
	fs.IntVar(&opt.InFlight, "in-flight", transfer.DefaultInFlight, "fetch `N` ranges at a time")
}

// checkTransfer refuses what cannot be meant.
func checkTransfer(opt updater.TransferOptions) error {
	switch {
	case opt.Full && opt.NoFull:
		return fault.Errorf(fault.Usage, "abupdate apply: --full and --no-full exclude each other")
	case opt.MaxRanges < 0:
		return fault.Errorf(fault.Usage, "--max-ranges is %d; want 1 or more", opt.MaxRanges)
	case opt.InFlight < 0:
		return fault.Errorf(fault.Usage, "--in-flight is %d; want 1 or more", opt.InFlight)
	}
	return nil
}

// A gapFlag is a size of which 0 is not the default.
type gapFlag struct {
	sizeFlag
	gap *int64
}

// Set implements pflag.Value.
func (f gapFlag) Set(text string) error {
	if err := f.sizeFlag.Set(text); err != nil {
		return err
	}
	if *f.gap = int64(*f.p); *f.gap == 0 {
		*f.gap = -1
	}
	return nil
}
