package oci_test

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
)

// What stands in a fuzzed document for a digest or a size of another one: the
// fuzzer could not guess them.
const (
	layerMark    = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	configMark   = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
	manifestMark = "sha256:3333333333333333333333333333333333333333333333333333333333333333"
	layerSize    = "1001001"
	configSize   = "2002002"
	manifestSize = "3003003"
)

const (
	seedConfig   = `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + layerMark + `"]}}`
	seedManifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",` +
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + configMark + `","size":` + configSize + `},` +
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"` + layerMark + `","size":` + layerSize + `}]}`
	seedNested = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	seedIndex  = `{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + manifestMark +
		`","size":` + manifestSize + `,"platform":{"os":"linux","architecture":"amd64"},"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`
	seedUpdate = `{"schemaVersion":2,"artifactType":"` + manifest.ArtifactType + `","config":{"mediaType":"` + manifest.ConfigMediaType + `",` +
		`"digest":"` + configMark + `","size":` + configSize + `},"layers":[]}`
)

// FuzzResolve reads documents that nobody wrote on purpose, of a layout that
// is otherwise whole, and reads the image when there is one.
func FuzzResolve(f *testing.F) {
	layer := tarOf(f, file("a", "x"), link("b", "a"))
	for _, seed := range [][3]string{
		{seedIndex, seedManifest, seedConfig}, {seedIndex, seedNested, seedConfig}, {seedIndex, seedUpdate, seedConfig},
		{strings.ReplaceAll(seedIndex, "amd64", "s390x"), strings.ReplaceAll(seedManifest, "oci.image", "docker"), "{}"},
		{seedIndex, strings.ReplaceAll(seedManifest, layerSize, "9223372036854775807"), seedConfig},
		{seedIndex, strings.Replace(seedManifest, "]", `,{"size":9223372036854775807,"digest":"`+layerMark+`"}]`, 1), seedConfig},
	} {
		f.Add(seed[0], seed[1], seed[2], "v1")
		f.Add(seed[0], seed[1], seed[2], "@0")
	}
	f.Fuzz(func(t *testing.T, index, doc, config, tag string) {
		files := map[string][]byte{}
		fill := strings.NewReplacer(layerMark, addBlob(files, layer), layerSize, strconv.Itoa(len(layer))).Replace
		config = fill(config)
		doc = fill(strings.NewReplacer(configMark, addBlob(files, []byte(config)), configSize, strconv.Itoa(len(config))).Replace(doc))
		files["index.json"] = []byte(strings.NewReplacer(manifestMark, addBlob(files, []byte(doc)), manifestSize, strconv.Itoa(len(doc))).Replace(index))
		readFuzzed(t, oci.Reference{Transport: oci.Layout, Path: "memory", Tag: tag}, files)
	})
}

// FuzzDockerArchive does the same for manifest.json.
func FuzzDockerArchive(f *testing.F) {
	layer := tarOf(f, file("a", "x"), link("b", "a"))
	f.Add(`[{"Config":"config.json","RepoTags":["x:v1"],"Layers":["layer.tar"]}]`, seedConfig, "x:v1")
	f.Add(`[{"Config":"config.json","Layers":["layer.tar","config.json"]},{}]`, `{"rootfs":{"diff_ids":["`+layerMark+`","`+layerMark+`"]}}`, "@0")
	f.Fuzz(func(t *testing.T, images, config, tag string) {
		digest := "sha256:" + digestOf(layer)
		readFuzzed(t, oci.Reference{Transport: oci.DockerArchive, Path: "memory", Tag: tag}, map[string][]byte{
			"manifest.json": []byte(images), "layer.tar": layer, "config.json": []byte(strings.ReplaceAll(config, layerMark, digest)),
		})
	})
}

func addBlob(files map[string][]byte, b []byte) string {
	digest := digestOf(b)
	files["blobs/sha256/"+digest] = b
	return "sha256:" + digest
}

// readFuzzed wants an image, or an error that says whose fault it is.
func readFuzzed(t *testing.T, ref oci.Reference, files map[string][]byte) {
	img, err := oci.ResolveFiles(ref, oci.Options{Platform: "linux/amd64"}, files)
	if err != nil {
		if fault.KindOf(err) == fault.Other {
			t.Errorf("resolving: %v; want an error with a kind", err)
		}
		return
	}
	raw := img.ManifestRaw()
	if want := "sha256:" + digestOf(raw); img.Digest() != want {
		t.Errorf("digest %s of manifest %q; want %s", img.Digest(), raw, want)
	}
	if img.Size() < 0 {
		t.Errorf("size %d", img.Size())
	}
	all, p, err := read(t, img)
	switch {
	case err != nil && fault.KindOf(err) == fault.Other:
		t.Errorf("reading: %v; want an error with a kind", err)
	case err == nil && len(img.Layers()) > 0 && (len(all) != 3 || p.Bytes != 1):
		t.Errorf("read %d entries with %d bytes", len(all), p.Bytes)
	}
	if img.IsUpdate() {
		config, err := img.UpdateConfig()
		if blob := files["blobs/sha256/"+digestOf(config)]; err != nil || !bytes.Equal(blob, config) {
			t.Errorf("config of the update %q, %v", config, err)
		}
	}
	rc, _, err := img.Blob(context.Background(), "application/vnd.oci.image.layer.v1.tar")
	if err == nil {
		rc.Close()
	}
}
