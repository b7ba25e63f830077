package diff

import (
	"maps"
	"slices"

	"github.com/abupdate/abupdate/internal/manifest"
)

// Fields compares what two manifests say of their systems. Sizes and hashes
// are left out: they follow from the files.
func Fields(before, after *manifest.Manifest) []Detail {
	var list []Detail
	for _, f := range []struct{ name, before, after string }{
		{"version", before.Version, after.Version},
		{"title", before.Title, after.Title},
		{"architecture", before.Architecture, after.Architecture},
		{"compatible", before.Compatible, after.Compatible},
		{"minimum version", before.MinVersion, after.MinVersion},
		{"kernel", before.Kernel, after.Kernel},
		{"created", before.Created, after.Created},
		{"encoder", before.Encoder, after.Encoder},
		{"salt", before.Salt, after.Salt},
		{"source", before.SourceImage, after.SourceImage},
		{"source digest", before.SourceDigest, after.SourceDigest},
	} {
		if f.before != f.after {
			list = append(list, Detail{f.name, f.before, f.after})
		}
	}
	return list
}

// Labels compares labels or annotations.
func Labels(before, after map[string]string) []Detail {
	keys := make(map[string]string, len(before)+len(after))
	maps.Copy(keys, before)
	maps.Copy(keys, after)
	var list []Detail
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		if before[key] != after[key] {
			list = append(list, Detail{key, before[key], after[key]})
		}
	}
	return list
}
