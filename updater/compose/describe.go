package compose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/abupdate/abupdate/internal/fstree"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
)

// Labels of an image's configuration that abupdate reads.
const (
	LabelVersion    = "org.opencontainers.image.version"
	LabelTitle      = "org.opencontainers.image.title"
	LabelCompatible = "org.abupdate.compatible"
	LabelMinVersion = "org.abupdate.min-version"
)

// DigestVersion starts the version of an image that names none: the rest are
// digits of its digest. Such versions have no order.
const DigestVersion = "sha256."

const textLimit = 256 << 10 // bytes that are read of an image's texts

// Describe returns what an image's config tells of what Compose will make of
// it. The version is the given one or the image's label; when it is "" the
// files decide.
func Describe(img *oci.Image, opt Options) manifest.Manifest {
	labels := img.Labels()
	m := manifest.Manifest{
		Format:       manifest.FormatVersion,
		Version:      firstOf(opt.Version, labels[LabelVersion]),
		Title:        firstOf(labels[LabelTitle]),
		Architecture: img.Architecture(),
		Compatible:   firstOf(opt.Compatible, labels[LabelCompatible]),
		MinVersion:   firstOf(opt.MinVersion, labels[LabelMinVersion]),
		SourceImage:  opt.Source,
		SourceDigest: img.Digest(),
		Encoder:      opt.Squashfs.Encoder(),
	}
	if t := created(img); !t.IsZero() {
		m.Created = t.UTC().Format(time.RFC3339)
	}
	return m
}

// DescribeFiles adds what the image's files tell: the kernel and what is added
// to its command line, what is kept on the device, and of version and title
// what the config leaves open. That is os-release's IMAGE_VERSION or
// VERSION_ID, else digits of the digest; and PRETTY_NAME. After it all is known
// but sizes and hashes.
func DescribeFiles(ctx context.Context, m *manifest.Manifest, plan *oci.Plan, opt Options) error {
	kernel, err := FindKernel(plan)
	if err != nil && !(opt.NoKernel && errors.Is(err, ErrNoKernel)) {
		return err
	}
	m.Kernel = kernel.Release
	release, kargs, config := osReleasePath(plan), dropins(plan, KargsDir), dropins(plan, ConfigDir)
	files, err := readTexts(ctx, plan, slices.Concat(kargs, config, release))
	if err != nil {
		return err
	}
	if m.Kargs, err = joinKargs(kargs, files, m.Architecture); err != nil {
		return err
	}
	if err := configure(m, config, files); err != nil {
		return err
	}
	vars := map[string]string{}
	for _, path := range release {
		vars = ParseOSRelease(string(files[path]))
	}
	m.Version = firstOf(m.Version, vars["IMAGE_VERSION"], vars["VERSION_ID"], digestVersion(m.SourceDigest))
	m.Title = firstOf(m.Title, vars["PRETTY_NAME"])
	return nil
}

// osReleasePath returns the path of the image's os-release, if it has one.
func osReleasePath(plan *oci.Plan) []string {
	for _, path := range []string{"etc/os-release", "usr/lib/os-release"} {
		if e, ok := plan.Lookup(path); ok && (e.Type == fstree.Regular || e.Type == fstree.Hardlink) {
			return []string{e.Path}
		}
	}
	return nil
}

// readTexts reads small files, all in one pass over the layers.
func readTexts(ctx context.Context, plan *oci.Plan, paths []string) (map[string][]byte, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	files, err := plan.ReadFiles(ctx, paths, textLimit)
	if err != nil {
		return nil, fmt.Errorf("reading /%s of the image: %w", strings.Join(paths, ", /"), err)
	}
	return files, nil
}

func digestVersion(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return DigestVersion + hex[:min(len(hex), 12)]
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v = strings.TrimSpace(v); v != "" {
			return v
		}
	}
	return ""
}

// created is the image's creation time, zero when it says none.
func created(img *oci.Image) time.Time {
	t := img.Config().Created.Time
	if t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}
