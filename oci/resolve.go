package oci

import (
	"context"
	"runtime"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Options says how an image is found and read; the zero value works.
type Options struct {
	// Platform picks an image out of a multi-platform index ("linux/arm64");
	// "" means linux on this machine's architecture.
	Platform string
	// SpoolDir is where a layer of a registry lies that must be read twice, and
	// a compressed archive; "" means os.TempDir. Close gives the room back.
	SpoolDir string
	Limits   Limits
	// Insecure speaks plain HTTP, and nothing else, to the registry. Hosts on
	// this machine's loopback may always be spoken to without TLS.
	Insecure bool
	// Progress, when set, is called now and then, from several goroutines but
	// never at the same time.
	Progress func(Progress)
	// Wire carries all requests, and says how patiently; nil means with the
	// zero wire.Options.
	Wire *wire.Client
	// AuthFile holds credentials, as docker's config.json does; what it has goes
	// before those of docker login and podman login. It may be missing.
	AuthFile string
}

// Progress tells how far a phase of the work has come.
type Progress struct {
	Phase string // "read"
	// Done and Total count compressed bytes of layers. Total grows in the end
	// when a layer must be read twice.
	Done, Total int64
	Local       int64 // of Done: layers that were at hand, or listed twice
}

// Limits stop an image that would eat the device. A zero field means the
// default given at it.
type Limits struct {
	Entries       int   // tar entries of all layers; 2,000,000
	LayerBytes    int64 // uncompressed bytes of one layer; 32 GiB
	TotalBytes    int64 // bytes of all regular files, holes included, of the flattened image and of what Contents takes; 64 GiB
	MetadataBytes int64 // names, link targets and extended attributes of all layers; 512 MiB
	XattrBytes    int64 // sets of extended attributes that differ, which are held as they are; 32 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Entries == 0 {
		l.Entries = 2_000_000
	}
	if l.LayerBytes == 0 {
		l.LayerBytes = 32 << 30
	}
	if l.TotalBytes == 0 {
		l.TotalBytes = 64 << 30
	}
	if l.MetadataBytes == 0 {
		l.MetadataBytes = 512 << 20
	}
	if l.XattrBytes == 0 {
		l.XattrBytes = 32 << 20
	}
	return l
}

// platform returns the wanted platform.
func (o Options) platform() (v1.Platform, error) {
	if o.Platform == "" {
		return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	p, err := v1.ParsePlatform(o.Platform)
	if err != nil || p.OS == "" || p.Architecture == "" {
		return v1.Platform{}, fault.Errorf(fault.Usage, "platform %q: want OS/ARCHITECTURE, as linux/arm64", o.Platform)
	}
	return *p, nil
}

// Resolve finds the image that ref names and reads its manifest and config,
// digests checked; no layer is read yet. The caller closes the image.
func Resolve(ctx context.Context, ref Reference, opt Options) (*Image, error) {
	switch {
	case ref.Transport == Registry:
		return resolveRegistry(ctx, ref, opt)
	case ref.web():
		return resolveWeb(ctx, ref, opt)
	}
	var f files
	var err error
	if ref.Transport == Layout {
		f, err = openLayout(ref)
	} else {
		f, err = openArchive(ctx, ref, opt)
	}
	if err != nil {
		return nil, err
	}
	find := resolveLayout
	if ref.Transport == DockerArchive {
		find = resolveDockerArchive
	}
	img, err := find(ctx, ref, opt, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return img, nil
}
