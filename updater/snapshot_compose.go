package updater

import (
	"context"

	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/squashfs"
	"github.com/abupdate/abupdate/updater/compose"
)

// composeTo makes the squashfs of an ordinary image.
func composeTo(ctx context.Context, img *oci.Image, sink squashfs.Sink, opt compose.Options) (*compose.Result, *oci.Plan, error) {
	index, err := oci.ReadIndex(ctx, img)
	if err != nil {
		return nil, nil, err
	}
	plan, err := index.Plan()
	if err != nil {
		return nil, nil, err
	}
	desc, err := compose.Describe(ctx, img, plan, opt)
	if err != nil {
		return nil, nil, err
	}
	made, err := compose.Compose(ctx, plan, sink, desc, opt)
	return made, plan, err
}

// discard is a squashfs.Sink for an image of which only the hash tree is
// wanted.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteFirst([]byte) error     { return nil }
