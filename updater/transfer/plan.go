package transfer

import (
	"context"
	"fmt"
	"io"

	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

// A Source is an image on this device.
type Source struct {
	Name  string // for messages
	Image io.ReaderAt
	Tree  *verity.Tree
}

// A Target is the slot that is written, as it is before.
type Target struct {
	Image io.ReaderAt
	// Tree is that of the image in the slot, nil when there is none. Its
	// hashes are read by New only.
	Tree *verity.Tree
	// Scan says that an interrupted transfer may have left blocks: then the
	// slot is read to see which.
	Scan bool
}

// Options says how to fetch. The zero value works.
type Options struct {
	// Gap is how many bytes apart missing blocks may be to be fetched
	// together.
	Gap int64
	// MaxRanges bounds the number of ranges; 0 means DefaultRanges.
	MaxRanges int
	// InFlight is how many ranges are fetched at a time; 0 means
	// DefaultInFlight.
	InFlight int
	// Near says that the remote is at hand, a file: ranges cost nothing then,
	// and are read when they are needed.
	Near bool

	// NoRanges is the error that Remote.Open wraps when there are no ranges
	// to be had. Whole then gives all of the remote, from its start; without
	// it the transfer fails.
	NoRanges error
	Whole    func(ctx context.Context) (io.ReadCloser, error)
	// Say is told what somebody may want to know who pays for the line, not
	// while progress is told; it may be nil.
	Say func(note string)
}

// Defaults of Options.
const (
	DefaultRanges   = 200
	DefaultInFlight = 4
)

func (o Options) withDefaults() Options {
	if o.MaxRanges <= 0 {
		o.MaxRanges = DefaultRanges
	}
	if o.InFlight <= 0 {
		o.InFlight = DefaultInFlight
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	return o
}

// A Plan says where each block of an image is to come from.
type Plan struct {
	opt     Options
	tree    *verity.Tree
	sources []Source
	target  Target
	place   int // of the target in blocks' sources, or noTarget
	scanned bool
	blocks  *delta.Plan
	ranges  int   // to be fetched
	toFetch int64 // bytes
}

// noTarget is the place of a target that is no source.
const noTarget = -2

// New plans the transfer of the image of a tree.
func New(ctx context.Context, tree *verity.Tree, target Target, sources []Source, opt Options) (*Plan, error) {
	p := &Plan{opt: opt.withDefaults(), tree: tree, sources: sources, target: target, place: noTarget}
	var old []delta.Source
	for _, s := range sources {
		old = append(old, delta.Of(s.Tree))
	}
	under, ok := p.under(ctx)
	if ok {
		p.place = len(old)
		old = append(old, under)
	}
	var err error
	if p.blocks, err = delta.New(delta.Of(tree), old...); err != nil {
		return nil, fmt.Errorf("comparing hash trees: %w", err)
	}
	ranges := p.join(p.blocks.Missing)
	p.ranges, p.toFetch = len(ranges), p.bytes(ranges, p.blocks.Missing)
	return p, nil
}

// under is what the target holds, as a source.
func (p *Plan) under(ctx context.Context) (delta.Source, bool) {
	var src delta.Source
	switch {
	case p.target.Scan:
		src, p.scanned = scan(ctx, p.target.Image, p.tree), true
	case p.target.Tree != nil:
		src = delta.Of(p.target.Tree)
	default:
		return src, false
	}
	src.Under = true
	src.Gone = delta.Range{First: p.tree.DataBlocks, End: p.tree.DataBlocks + p.tree.Bytes()/verity.BlockSize}
	return src, true
}

// Figures are the bytes of an image by where they come from.
type Figures struct {
	Copied  int64 // from elsewhere on the device
	Kept    int64 // stood where they belong
	Fetched int64 // came from the remote, those included that were not needed
	Ranges  int   // that were asked for
	Whole   bool  // there were no ranges to be had
}

// Figures are those of the transfer if all is as the trees say.
func (p *Plan) Figures() Figures {
	f := Figures{Fetched: p.toFetch, Ranges: p.ranges}
	for _, c := range p.blocks.Copies {
		if p.keeps(c) {
			f.Kept += c.To.Blocks() * verity.BlockSize
		} else {
			f.Copied += c.To.Blocks() * verity.BlockSize
		}
	}
	return f
}

// keeps says whether blocks stay where they are.
func (p *Plan) keeps(c delta.Copy) bool { return c.Source == p.place && c.From == c.To.First }
