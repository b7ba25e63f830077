package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Several images: one JSON object a line for each that was built, one line of
// error for each that was not, and the exit code of the first of these.
func TestBuildSeveral(t *testing.T) {
	dir := testImages(t)
	ref := func(tag string) string { return "oci:" + dir + ":" + tag }
	out := filepath.Join(t.TempDir(), "updates")
	args := []string{"build", ref("v1"), ref("v9"), ref("nokernel"), ref("v2"), "-o", out, "--jobs", "2"}
	code, stdout, stderr := abupdate(t, append(args, "--json")...)
	var errs []string
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "{") {
			if e := object(t, line, "step", "done", "image"); !strings.HasPrefix(e["image"].(string), "oci:") {
				t.Errorf("progress of image %v", e["image"])
			}
			continue
		}
		errs = append(errs, line)
	}
	if code != 2 || len(errs) != 2 || !strings.Contains(errs[0], ref("v9")) || !strings.Contains(errs[1], ref("nokernel")) {
		t.Errorf("exit code %d, errors %q; want 2, and v9 and nokernel named in this order", code, errs)
	}
	built := make(map[string]string)
	for line := range strings.Lines(stdout) {
		o := object(t, line, "image", "digest", "root_hash", "files", "file_bytes", "layer_bytes", "ratio", "image_bytes",
			"tree_bytes", "duplicates", "duplicate_bytes", "unused_bytes", "layers_read_twice", "wall_seconds")
		built[o["image"].(string)] = o["tag"].(string)
	}
	if len(built) != 2 || built[ref("v1")] != "1.0" || built[ref("v2")] != "2.0" {
		t.Errorf("built %v; want v1 as 1.0 and v2 as 2.0", built)
	}

	code, stdout, stderr = abupdate(t, args...)
	v1, v2 := strings.Index(stdout, ref("v1")), strings.Index(stdout, ref("v2"))
	if code != 2 || strings.Count(stderr, "\n") != 2 || v1 < 0 || v2 < v1 || !strings.Contains(stdout, "2 of 4 images built in ") {
		t.Errorf("exit code %d, stderr %q, stdout:\n%s\nwant v1, then v2, then a summary", code, stderr, stdout)
	}
}

// The words for levels are levels: what the manifest names as encoder tells.
func TestBuildLevels(t *testing.T) {
	ref := "oci:" + testImages(t) + ":v1"
	encoders := make(map[string]bool)
	for _, level := range []string{"fast", "default", "best", "5"} {
		raw := filepath.Join(t.TempDir(), "raw")
		o := object(t, must(t, "build", ref, "--raw", raw, "--level", level, "--json"), "encoder", "cpu_seconds")
		encoders[o["encoder"].(string)] = true
	}
	if len(encoders) != 4 {
		t.Errorf("4 levels give the encoders %v", encoders)
	}
	first := object(t, must(t, "build", ref, "--raw", filepath.Join(t.TempDir(), "raw"), "--json"))
	named := object(t, must(t, "build", ref, "--raw", filepath.Join(t.TempDir(), "raw"), "--json", "--level", "default"))
	if first["encoder"] != named["encoder"] {
		t.Errorf("encoder %v without a level, %v with --level default", first["encoder"], named["encoder"])
	}
}
