package updater

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/unsquash"
	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/updater/diff"
)

// DiffOptions says what to compare, and how.
type DiffOptions struct {
	Old, New string // a slot, a raw slot image file, an image or an update
	Look     LookOptions
	// NoFiles leaves out files and packages: of updates and slots only the
	// hash trees are read then.
	NoFiles bool
	// Gap and Limit are how missing ranges are joined: see delta.Plan.Fetch.
	Gap   int64 // bytes
	Limit int
}

// DefaultGap is how far apart, in bytes, missing ranges are joined, and
// DefaultRanges how many ranges are left at most. Package delta says what they
// cost.
const (
	DefaultGap    = 16 << 10
	DefaultRanges = 200
)

// A Difference is what Diff found.
type Difference struct {
	Old      *Inspected           `json:"old"`
	New      *Inspected           `json:"new"`
	Fields   []diff.Detail        `json:"fields"`           // of the manifests
	Labels   []diff.Detail        `json:"labels,omitempty"` // of images, or annotations of updates
	Files    *diff.FileChanges    `json:"files,omitempty"`
	Packages *diff.PackageChanges `json:"packages,omitempty"` // nil unless both databases are known
	Fetch    diff.Fetch           `json:"fetch"`
}

// Diff compares two systems: by file, by package, and by the blocks that a
// device that runs the old one would fetch for the new one.
func Diff(ctx context.Context, opt DiffOptions) (*Difference, error) {
	before := &snapshot{look: opt.Look, compose: true, contents: !opt.NoFiles}
	defer before.Close()
	if err := before.open(ctx, opt.Old); err != nil {
		return nil, err
	}
	after := &snapshot{look: opt.Look, compose: true, contents: !opt.NoFiles}
	defer after.Close()
	if err := after.open(ctx, opt.New); err != nil {
		return nil, err
	}
	d := &Difference{Old: before.in, New: after.in, Fields: diff.Fields(&before.in.Manifest, &after.in.Manifest)}
	if before.in.Kind == after.in.Kind {
		d.Labels = append(diff.Labels(before.in.Labels, after.in.Labels), diff.Labels(before.in.Annotations, after.in.Annotations)...)
	}
	if err := d.fetch(before, after, opt); err != nil {
		return nil, err
	}
	if opt.NoFiles {
		return d, nil
	}
	if err := d.compare(ctx, before, after, opt.Look.Progress); err != nil {
		return nil, err
	}
	return d, nil
}

// fetch plans what a device would fetch.
func (d *Difference) fetch(before, after *snapshot, opt DiffOptions) error {
	plan, err := delta.New(delta.Of(after.tree), delta.Of(before.tree))
	if err != nil {
		return fmt.Errorf("comparing hash trees: %w", err)
	}
	metadata := after.tree.Bytes() + manifestBytes(&after.in.Manifest)
	d.Fetch = diff.FetchOf(plan, opt.Gap, opt.Limit, metadata)
	d.Fetch.OtherSalt = before.in.Salt != after.in.Salt
	return nil
}

// compare compares files and packages.
func (d *Difference) compare(ctx context.Context, before, after *snapshot, progress Progress) error {
	var old, wanted []int
	var total int64
	for i, j := range diff.Pairs(before.files, after.files) {
		old, wanted = append(old, i), append(wanted, j)
	}
	old, wanted = unique(old), unique(wanted)
	for _, i := range old {
		total += before.files[i].Size
	}
	for _, i := range wanted {
		total += after.files[i].Size
	}
	done, err := before.hash(ctx, old, 0, total, progress)
	if err != nil {
		return err
	}
	if _, err := after.hash(ctx, wanted, done, total, progress); err != nil {
		return err
	}
	files := diff.Files(before.files, after.files)
	d.Files = &files
	if before.in.PackageDatabase, before.in.Packages, err = before.packages(ctx); err != nil {
		return err
	}
	if after.in.PackageDatabase, after.in.Packages, err = after.packages(ctx); err != nil {
		return err
	}
	if before.in.PackageDatabase != "" && after.in.PackageDatabase != "" {
		packages := diff.Packages(before.in.Packages, after.in.Packages)
		d.Packages = &packages
	}
	before.in.Packages, after.in.Packages = nil, nil // what differs is said
	return nil
}

func unique(list []int) []int {
	slices.Sort(list)
	return slices.Compact(list)
}

// hash fills in the sums of files and returns how many bytes are done.
func (s *snapshot) hash(ctx context.Context, files []int, done, total int64, progress Progress) (int64, error) {
	sums, err := s.image.Sums(ctx, files, func(n int64) { progress.Report(StepCompare, done+n, total) })
	if err != nil {
		if errors.Is(err, unsquash.ErrCorrupt) {
			err = fault.Wrap(fault.Verify, err)
		}
		return done, fmt.Errorf("reading %s: %w", s.in.Name, err)
	}
	for k, i := range files {
		s.files[i].Sum = sums[k]
		done += s.files[i].Size
	}
	return done, nil
}
