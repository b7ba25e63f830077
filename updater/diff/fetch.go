package diff

import (
	"github.com/abupdate/abupdate/updater/delta"
	"github.com/abupdate/abupdate/verity"
)

// A Fetch is what a device that runs the old image would fetch for the new
// one as an update.
type Fetch struct {
	ImageBytes int64 `json:"image_bytes"` // of the new one
	// MissingBlocks of 4 KiB stand nowhere in the old image.
	MissingBlocks int64 `json:"missing_blocks"`
	MissingBytes  int64 `json:"missing_bytes"`
	// Ranges is how many requests that takes when those that are no more
	// than GapBytes apart are joined; WasteBytes is what is fetched in vain.
	Ranges     int   `json:"ranges"`
	GapBytes   int64 `json:"gap_bytes"`
	WasteBytes int64 `json:"waste_bytes"`
	// MetadataBytes are hash tree and manifest, fetched beside the blocks.
	MetadataBytes int64 `json:"metadata_bytes"`
	TotalBytes    int64 `json:"total_bytes"`
	// Percent is TotalBytes of ImageBytes.
	Percent float64 `json:"percent"`
	// LocalBlocks are copied from the old image, RepeatedBlocks from where
	// the new image has them a second time.
	LocalBlocks    int64 `json:"local_blocks"`
	RepeatedBlocks int64 `json:"repeated_blocks"`
	// OtherSalt says that the hash trees cannot be compared.
	OtherSalt bool `json:"other_salt,omitempty"`
}

// FetchOf sums a plan up. The metadata is what is fetched beside it.
func FetchOf(p *delta.Plan, gapBytes int64, limit int, metadataBytes int64) Fetch {
	got := p.Fetch(gapBytes/verity.BlockSize, limit)
	f := Fetch{
		ImageBytes:    p.Blocks * verity.BlockSize,
		MissingBlocks: p.MissingBlocks(), MissingBytes: p.MissingBlocks() * verity.BlockSize,
		Ranges: len(got.Ranges), GapBytes: gapBytes, WasteBytes: got.WasteBlocks * verity.BlockSize,
		MetadataBytes: metadataBytes,
	}
	for _, c := range p.Copies {
		if c.Source == delta.Self {
			f.RepeatedBlocks += c.To.Blocks()
		} else {
			f.LocalBlocks += c.To.Blocks()
		}
	}
	f.TotalBytes = f.MissingBytes + f.WasteBytes + f.MetadataBytes
	if f.ImageBytes > 0 {
		f.Percent = 100 * float64(f.TotalBytes) / float64(f.ImageBytes)
	}
	return f
}
