package compose

import (
	"context"
	"errors"
	"fmt"
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

const osReleaseLimit = 64 << 10 // bytes

// Describe returns the manifest of what Compose will make of an image, as far
// as it is known before: all but sizes and hashes. The plan is the image's.
// The version is the given one, else the image's label, else os-release's
// IMAGE_VERSION or VERSION_ID, else taken from the digest.
func Describe(ctx context.Context, img *oci.Image, plan *oci.Plan, opt Options) (manifest.Manifest, error) {
	m := manifest.Manifest{
		Format:       manifest.FormatVersion,
		Architecture: img.Architecture(),
		SourceImage:  opt.Source,
		SourceDigest: img.Digest(),
		Encoder:      opt.Squashfs.Encoder(),
	}
	kernel, err := FindKernel(plan)
	if err != nil && !(opt.NoKernel && errors.Is(err, ErrNoKernel)) {
		return m, err
	}
	m.Kernel = kernel.Release
	text, err := osRelease(ctx, plan)
	if err != nil {
		return m, err
	}
	vars, labels := parseOSRelease(text), img.Labels()
	m.Version = firstOf(opt.Version, labels[LabelVersion], vars["IMAGE_VERSION"], vars["VERSION_ID"], digestVersion(img.Digest()))
	m.Title = firstOf(labels[LabelTitle], vars["PRETTY_NAME"])
	m.Compatible = firstOf(opt.Compatible, labels[LabelCompatible])
	m.MinVersion = labels[LabelMinVersion]
	if t := created(img); !t.IsZero() {
		m.Created = t.UTC().Format(time.RFC3339)
	}
	return m, nil
}

// osRelease returns the text of the image's os-release, or "" when it has
// none.
func osRelease(ctx context.Context, plan *oci.Plan) (string, error) {
	for _, path := range []string{"etc/os-release", "usr/lib/os-release"} {
		e, ok := plan.Lookup(path)
		if !ok || e.Type != fstree.Regular && e.Type != fstree.Hardlink {
			continue
		}
		files, err := plan.ReadFiles(ctx, []string{e.Path}, osReleaseLimit)
		if err != nil {
			return "", fmt.Errorf("reading /%s of the image: %w", e.Path, err)
		}
		return string(files[e.Path]), nil
	}
	return "", nil
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
