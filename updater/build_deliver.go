package updater

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater/compose"
)

// deliver puts what was made where it was asked for. The raw image is a copy;
// the update takes the files.
func (b *Built) deliver(ctx context.Context, tmp string, from oci.Reference, made *compose.Result, opt BuildOptions) error {
	raw, err := made.Manifest.Encode()
	if err != nil {
		return err
	}
	if opt.Raw != "" {
		if err := writeRaw(ctx, tmp, opt.Raw, made, raw); err != nil {
			return fmt.Errorf("writing %s: %w", opt.Raw, err)
		}
		b.Raw = opt.Raw
	}
	if opt.Dir == "" && opt.Push == "" {
		return nil
	}
	dir := opt.Dir
	if dir == "" {
		dir = filepath.Join(tmp, layoutDir)
	}
	b.Tag = tagOf(opt.Tag, &made.Manifest, from)
	if opt.Dir != "" {
		if err := opt.names.take(b.Tag, opt.Ref); err != nil {
			return err
		}
	}
	b.Digest, err = oci.WriteUpdate(ctx, dir, b.Tag, oci.Update{
		Config:       raw,
		Architecture: made.Manifest.Architecture,
		Squashfs:     oci.UpdateFile{Path: filepath.Join(tmp, squashfsFile), Take: true},
		Tree:         oci.UpdateFile{Path: filepath.Join(tmp, treeFile), Take: true},
		Annotations:  annotations(made.Manifest),
	})
	if err != nil {
		return err
	}
	b.Dir = opt.Dir
	if opt.Push == "" {
		return nil
	}
	return b.push(ctx, dir, fill(opt.Push, &made.Manifest, from), opt)
}

func (b *Built) push(ctx context.Context, dir, to string, opt BuildOptions) error {
	if err := opt.names.take(to, opt.Ref); err != nil {
		return err
	}
	local, err := oci.ParseReference("oci:" + dir + ":" + b.Tag)
	if err != nil {
		return fault.Wrap(fault.Usage, err)
	}
	remote, err := oci.ParseReference(to)
	if err != nil {
		return fault.Wrap(fault.Usage, err)
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
