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
func (b *Built) deliver(ctx context.Context, tmp string, made *compose.Result, opt BuildOptions) error {
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
	b.Tag = tagOf(opt.Tag, made.Manifest.Version)
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
	return b.push(ctx, dir, opt)
}

func (b *Built) push(ctx context.Context, dir string, opt BuildOptions) error {
	local, err := oci.ParseReference("oci:" + dir + ":" + b.Tag)
	if err != nil {
		return fault.Wrap(fault.Usage, err)
	}
	remote, err := oci.ParseReference(opt.Push)
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

// tagOf returns tag, or the version with what a tag cannot hold replaced.
func tagOf(tag, version string) string {
	if tag != "" {
		return tag
	}
	b := []byte(version)
	for i, c := range b {
		if ok := isWord(c) || i > 0 && (c == '.' || c == '-'); !ok {
			b[i] = '_'
		}
	}
	return string(b[:min(len(b), 128)])
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
