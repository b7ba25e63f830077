package updater

import (
	"context"
	"fmt"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater/compose"
)

// deliver puts what was made where it was asked for: the slot image last, as
// the update may be a copy of it.
func (b *Built) deliver(ctx context.Context, out *output, from *oci.Image, made *compose.Result) error {
	opt := out.opt
	raw, err := made.Manifest.Encode()
	if err != nil {
		return err
	}
	if out.work != "" {
		if err := b.deliverUpdate(ctx, out, from, made, raw); err != nil {
			return err
		}
	}
	if opt.Raw == "" {
		return nil
	}
	sealed, err := Seal(raw, opt.SignKeys)
	if err != nil {
		return err
	}
	if err := finishSlot(ctx, out.image(), made, raw, sealed, opt.Progress); err != nil {
		return fmt.Errorf("writing %s: %w", opt.Raw, err)
	}
	if err := Place(out.image(), opt.Raw); err != nil {
		return fmt.Errorf("writing %s: %w", opt.Raw, err)
	}
	b.Raw = opt.Raw
	return nil
}

// deliverUpdate packs the update into a layout, and pushes it from there.
func (b *Built) deliverUpdate(ctx context.Context, out *output, img *oci.Image, made *compose.Result, raw []byte) error {
	opt, m, from := out.opt, &made.Manifest, img.Reference()
	dir := opt.Dir
	if dir == "" {
		dir = filepath.Join(out.work, layoutDir)
	}
	b.Tag = tagOf(opt.Tag, m, from)
	if opt.Dir != "" {
		if err := opt.names.take(b.Tag, opt.Ref); err != nil {
			return err
		}
	}
	squashfs, tree, err := out.update(made)
	if err != nil {
		return err
	}
	b.Digest, err = oci.WriteUpdate(ctx, dir, b.Tag, oci.Update{
		Config:       raw,
		Architecture: m.Architecture,
		Squashfs:     oci.UpdateFile{Path: squashfs, Take: true},
		Tree:         oci.UpdateFile{Path: tree, Take: true},
		Layers:       made.Plan.Layers,
		Annotations:  annotations(*m),
		Subject:      subject(img),
	})
	if err != nil {
		return err
	}
	b.Dir = opt.Dir
	local, err := oci.ParseReference("oci:" + dir + ":" + b.Tag)
	if err != nil {
		return fault.Wrap(fault.Usage, err)
	}
	if err := sign(ctx, local, b.Digest, opt.SignKeys, opt.Source.Registry); err != nil {
		return err
	}
	if opt.Push == "" {
		return nil
	}
	return b.push(ctx, local, fill(opt.Push, m, from), opt)
}

// subject makes an update one of the referrers of its image. An image of a
// docker-archive has no manifest that others could know.
func subject(img *oci.Image) *v1.Descriptor {
	if img.Reference().Transport == oci.DockerArchive {
		return nil
	}
	d := img.Descriptor()
	return &d
}

// push sends the signatures first: nobody is to see the update without.
func (b *Built) push(ctx context.Context, local oci.Reference, to string, opt BuildOptions) error {
	if err := opt.names.take(to, opt.Ref); err != nil {
		return err
	}
	remote, err := oci.ParseReference(to)
	if err != nil {
		return fault.Wrap(fault.Usage, err)
	}
	if err := sign(ctx, remote, b.Digest, opt.SignKeys, opt.Source.Registry); err != nil {
		return err
	}
	if b.Digest, err = oci.Push(ctx, local, remote, opt.Source.Registry); err != nil {
		return err
	}
	b.Pushed = remote.String()
	return nil
}

// annotations are the manifest's most wanted fields for those who look at the
// artifact in a registry.
func annotations(m manifest.Manifest) map[string]string {
	a := map[string]string{compose.LabelVersion: m.Version}
	for key, value := range map[string]string{
		compose.LabelTitle:                   m.Title,
		compose.LabelCompatible:              m.Compatible,
		"org.opencontainers.image.created":   m.Created,
		"org.opencontainers.image.base.name": m.SourceImage,
	} {
		if value != "" {
			a[key] = value
		}
	}
	return a
}
