package updater

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater/compose"
	"github.com/abupdate/abupdate/updater/diff"
)

// openReference looks at an image or an update.
func (s *snapshot) openReference(ctx context.Context, name string) error {
	ref, err := oci.ParseReference(name)
	if err != nil {
		return fault.Wrap(fault.Usage, err)
	}
	opt := s.look.Source.Registry
	opt.Progress = (&phase{progress: s.look.Progress, step: StepFetch}).report
	img, err := oci.Resolve(ctx, ref, opt)
	if err != nil {
		return err
	}
	s.close = append(s.close, img.Close)
	in := &Inspected{Kind: "image", Name: ref.String()}
	if err := in.describeOCI(img); err != nil {
		return err
	}
	if err := in.findSignatures(ctx, img, s.look.Keyring); err != nil {
		return err
	}
	if err := in.findReferrers(ctx, img); err != nil {
		return err
	}
	if img.IsUpdate() {
		in.Kind = "update"
		err = s.openUpdate(ctx, img, in)
	} else {
		err = s.openImage(ctx, img, in)
	}
	if err == nil {
		s.in = in
	}
	return err
}

// openUpdate reads an update's hash tree, and its squashfs for the files.
func (s *snapshot) openUpdate(ctx context.Context, img *oci.Image, in *Inspected) error {
	u := &updateSource{img: img}
	var err error
	if in.Manifest, err = u.describe(); err != nil {
		return err
	}
	if s.compose {
		if err := u.loadTree(ctx, nil, false, s.look.TempDir); err != nil {
			return fmt.Errorf("reading the hash tree of update %s: %w", in.Name, err)
		}
		s.tree = u.tree
		s.close = append(s.close, u.hashes.Close)
	}
	if !s.contents {
		return nil
	}
	f, err := s.temp()
	if err != nil {
		return err
	}
	r, err := u.blob(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	done := func(n int64) { s.look.Progress.Report(StepFetch, n, in.ImageBytes) }
	if _, err := io.Copy(f, &reportingReader{r: r, report: done}); err != nil {
		return fmt.Errorf("reading update %s: %w", in.Name, err)
	}
	return s.openSquashfs(in.Name, f, in.ImageBytes)
}

// openImage reads an ordinary image: its layers' headers, or, where the hash
// tree is wanted, all of it.
func (s *snapshot) openImage(ctx context.Context, img *oci.Image, in *Inspected) error {
	if s.compose {
		return s.composeImage(ctx, img, in)
	}
	plan, err := oci.Read(ctx, img, nil)
	if err != nil {
		return err
	}
	copt := s.composeOptions(img)
	in.Manifest = compose.Describe(img, copt)
	if err := compose.DescribeFiles(ctx, &in.Manifest, plan, copt); err != nil {
		return err
	}
	in.countPlan(plan)
	if s.contents {
		for e := range plan.Entries() {
			s.files = append(s.files, diff.File{Entry: e})
		}
		slices.SortFunc(s.files, func(a, b diff.File) int { return strings.Compare(a.Path, b.Path) })
		s.read = func(ctx context.Context, paths []string) (map[string][]byte, error) {
			return plan.ReadFiles(ctx, paths, databaseLimit)
		}
	}
	return nil
}

func (in *Inspected) countPlan(plan *oci.Plan) {
	in.Files, in.FileBytes, in.Dropped = plan.Files, plan.Bytes, plan.Dropped
}

func (s *snapshot) composeOptions(img *oci.Image) compose.Options {
	return compose.Options{
		Squashfs: s.look.Source.Squashfs, Version: s.look.Source.Version, Source: recordedSource(img.Reference()), NoKernel: true,
	}
}

// composeImage makes the squashfs that build would make. It is kept only for
// its files.
func (s *snapshot) composeImage(ctx context.Context, img *oci.Image, in *Inspected) error {
	var sink squashfs.Sink = discard{}
	var f *os.File
	if s.contents {
		var err error
		if f, err = s.temp(); err != nil {
			return err
		}
		sink = compose.Sink(f)
	}
	made, err := compose.Compose(ctx, img, sink, s.composeOptions(img))
	if err != nil {
		return fmt.Errorf("flattening %s: %w", in.Name, err)
	}
	in.Manifest, s.tree = made.Manifest, made.Tree
	in.countPlan(made.Plan)
	if f == nil {
		return nil
	}
	return s.openSquashfs(in.Name, f, made.Manifest.ImageBytes)
}

// discard is a squashfs.Sink for an image of which only the hash tree is
// wanted.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteFirst([]byte) error     { return nil }

// temp makes a file without a name.
func (s *snapshot) temp() (*os.File, error) {
	f, err := os.CreateTemp(s.look.TempDir, "abupdate-look-*")
	if err != nil {
		return nil, fmt.Errorf("making a temporary file: %w", err)
	}
	s.close = append(s.close, f.Close)
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("making a temporary file: %w", err)
	}
	return f, nil
}

// manifestBytes is the length of the manifest that a device fetches for m.
func manifestBytes(m *manifest.Manifest) int64 {
	b, err := m.Encode()
	if err != nil {
		return 0
	}
	return int64(len(b))
}

// reportingReader tells how much was read.
type reportingReader struct {
	r      io.Reader
	done   int64
	report func(done int64)
}

func (r *reportingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.done += int64(n)
	r.report(r.done)
	return n, err
}
