package updater_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/compose"
)

// The same image gives the same update, down to the digest of its manifest.
func TestBuildIsReproducible(t *testing.T) {
	ref := "oci:" + images(t) + ":v2"
	var first *updater.Built
	for range 2 {
		dir := t.TempDir()
		built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: ref, Dir: filepath.Join(dir, "out"), Raw: filepath.Join(dir, "raw")})
		if err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if first == nil {
			first = built
		} else if first.Digest != built.Digest || first.Digest == "" {
			t.Errorf("digest %q the first time, %q the second", first.Digest, built.Digest)
		}
	}
}

// Whatever is asked for together, outputs are the same, and nothing else stays
// behind, wherever the working folder is.
func TestBuildOutputs(t *testing.T) {
	ref := "oci:" + images(t) + ":v2"
	hashes, digests := make(map[string]bool), make(map[string]bool)
	for _, tt := range []struct{ raw, dir, temp bool }{
		{raw: true}, {dir: true}, {raw: true, dir: true}, {raw: true, temp: true}, {dir: true, temp: true}, {true, true, true},
	} {
		work, temp := t.TempDir(), t.TempDir()
		opt := updater.BuildOptions{Ref: ref}
		if tt.temp {
			opt.TempDir = temp
		}
		want := 0
		if tt.raw {
			opt.Raw, want = filepath.Join(work, "raw"), want+1
		}
		if tt.dir {
			opt.Dir, want = filepath.Join(work, "out"), want+1
		}
		built, err := updater.Build(t.Context(), opt)
		if err != nil {
			t.Fatalf("%+v: %v", tt, err)
		}
		if tt.raw {
			in, err := updater.Look(t.Context(), opt.Raw, updater.LookOptions{})
			if err != nil || in.RootHash != built.RootHash {
				t.Errorf("%+v: Look() = %+v, %v; want root hash %s", tt, in, err, built.RootHash)
			}
		}
		if tt.dir {
			digests[built.Digest] = true
		}
		hashes[built.RootHash] = true
		left, _ := os.ReadDir(temp)
		if made, _ := os.ReadDir(work); len(made) != want || len(left) != 0 {
			t.Errorf("%+v: made %v, left behind %v", tt, made, left)
		}
	}
	if len(hashes) != 1 || len(digests) != 1 {
		t.Errorf("root hashes %v, digests %v; want one of each", hashes, digests)
	}
}

// The bare slot image is a slot of its own.
func TestBuildRaw(t *testing.T) {
	raw := filepath.Join(t.TempDir(), "raw")
	built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + images(t) + ":v2", Raw: raw})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := blockdev.Open(raw, blockdev.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	content, err := partitions.ReadSlot(dev)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(built.Manifest, *content.Manifest); diff != "" {
		t.Errorf("manifest (-built +slot):\n%s", diff)
	}
	tree, err := content.Tree(dev)
	if err != nil {
		t.Fatal(err)
	}
	image, err := content.Image(dev)
	if err != nil {
		t.Fatal(err)
	}
	if err := tree.VerifyData(t.Context(), image, nil); err != nil {
		t.Error(err)
	}
	in, err := updater.Look(t.Context(), raw, updater.LookOptions{})
	if err != nil || in.Kind != "slot" || in.RootHash != built.RootHash {
		t.Errorf("Look() = %+v, %v; want root hash %s", in, err, built.RootHash)
	}
}

// Several versions live in one layout, and a tag moves.
func TestBuildIntoOneLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	for _, tag := range []string{"v1", "v2", "v1"} {
		if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + images(t) + ":" + tag, Dir: dir, Tag: tag}); err != nil {
			t.Fatal(err)
		}
	}
	for tag, version := range map[string]string{"v1": "1.0", "v2": "2.0"} {
		in, err := updater.Look(t.Context(), "oci:"+dir+":"+tag, updater.LookOptions{})
		if err != nil || in.Kind != "update" || in.Version != version {
			t.Errorf("Inspect(%s) = %+v, %v; want an update of version %s", tag, in, err, version)
		}
	}
}

func TestBuildTakesOptions(t *testing.T) {
	opt := updater.BuildOptions{
		Ref: "oci:" + images(t) + ":nokernel", Raw: filepath.Join(t.TempDir(), "raw"),
		Source:  updater.SourceOptions{Version: "7.7"},
		Compose: compose.Options{Compatible: "board7", NoKernel: true},
	}
	built, err := updater.Build(t.Context(), opt)
	if err != nil || built.Version != "7.7" || built.Compatible != "board7" || built.Kernel != "" {
		t.Errorf("Build() = %+v, %v; want version 7.7 for board7 without a kernel", built, err)
	}
}

// An output that cannot be made leaves nothing else behind.
func TestBuildFailsWhole(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "out"), nil, 0o600); err != nil { // a file where a folder is wanted
		t.Fatal(err)
	}
	_, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + images(t) + ":v1", Dir: filepath.Join(dir, "out")})
	if err == nil {
		t.Errorf("Build() = %v; want an error", err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}

func TestReadConfig(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  updater.Config
		bad   bool
	}{
		{"none", nil, updater.Config{}, false},
		{"the file", map[string]string{"config.toml": `image = "r.example/os:1"`}, updater.Config{Image: "r.example/os:1"}, false},
		{"drop-ins replace single keys", map[string]string{
			"config.toml": "image = \"a\"\nspool_dir = \"/s\"", "config.d/10-x.toml": "image = \"b\"", "config.d/20-y.toml": "insecure = true", "config.d/ignored.txt": "image = \"c\"",
		}, updater.Config{Image: "b", SpoolDir: "/s", Insecure: true}, false},
		{"the network", map[string]string{"config.toml": "retry_for = \"2h30m\"\nlimit_rate = \"2M/s\"\nlow_speed = \"500\"\n" +
			"[registries.\"r.example:5000\"]\nca = \"/ca.pem\"\nmirrors = [\"m.example/path\", \"http://n.example:80\"]\ninsecure = true\n"},
			updater.Config{RetryFor: updater.Duration(150 * time.Minute), LimitRate: 2 << 20, LowSpeed: 500, Registries: map[string]updater.RegistryConfig{
				"r.example:5000": {CA: "/ca.pem", Mirrors: []string{"m.example/path", "http://n.example:80"}, Insecure: true},
			}}, false},
		{"a drop-in replaces a host", map[string]string{
			"config.toml":      "[registries.a]\ninsecure = true\n[registries.b]\ninsecure = true\n",
			"config.d/10.toml": "[registries.a]\nmirrors = [\"m\"]\n",
		}, updater.Config{Registries: map[string]updater.RegistryConfig{"a": {Mirrors: []string{"m"}}, "b": {Insecure: true}}}, false},
		{"unknown key of a host", map[string]string{"config.toml": "[registries.a]\nmirror = \"m\""}, updater.Config{}, true},
		{"a host with a path", map[string]string{"config.toml": "[registries.\"a/b\"]\ninsecure = true"}, updater.Config{}, true},
		{"a mirror without a host", map[string]string{"config.toml": "[registries.a]\nmirrors = [\"/b\"]"}, updater.Config{}, true},
		{"a mirror of another kind", map[string]string{"config.toml": "[registries.a]\nmirrors = [\"ftp://b\"]"}, updater.Config{}, true},
		{"time below zero", map[string]string{"config.toml": "retry_for = \"-1s\""}, updater.Config{}, true},
		{"no time", map[string]string{"config.toml": "retry_for = \"soon\""}, updater.Config{}, true},
		{"a time without its unit", map[string]string{"config.toml": "retry_for = 3600"}, updater.Config{}, true},
		{"a check's time without its unit", map[string]string{"config.toml": "[health]\ntimeout = 120"}, updater.Config{}, true},
		{"one check's time without its unit", map[string]string{"config.toml": "[health.timeouts]\n\"boot-complete.target\" = 120"}, updater.Config{}, true},
		{"times of checks", map[string]string{"config.toml": "[health]\ntimeout = \"2m\"\n[health.timeouts]\nx = \"10m\""},
			updater.Config{Health: updater.HealthConfig{
				Timeout: updater.Duration(2 * time.Minute), Timeouts: map[string]updater.Duration{"x": updater.Duration(10 * time.Minute)},
			}}, false},
		{"no rate", map[string]string{"config.toml": "limit_rate = \"fast\""}, updater.Config{}, true},
		{"unknown key", map[string]string{"config.toml": "imgae = \"a\""}, updater.Config{}, true},
		{"not TOML", map[string]string{"config.d/a.toml": "image"}, updater.Config{}, true},
		{"wrong type", map[string]string{"config.toml": "image = 3"}, updater.Config{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "config.d"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := updater.ReadConfig(dir)
			if tt.bad {
				if fault.KindOf(err) != fault.Usage {
					t.Errorf("ReadConfig() = %+v, %v; want kind %d", got, err, fault.Usage)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("ReadConfig() error %v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestConfigWire(t *testing.T) {
	dir := t.TempDir()
	text := "retry_for = \"1h\"\nlimit_rate = \"1M\"\nlow_speed = \"1K/s\"\n[registries.\"r:1\"]\nca = \"ca.pem\"\nmirrors = [\"m\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := updater.ReadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := wire.Options{
		RetryFor: time.Hour, Bandwidth: 1 << 20, LowSpeed: 1 << 10,
		Hosts: map[string]wire.Host{"r:1": {CA: filepath.Join(dir, "ca.pem"), Mirrors: []string{"m"}}},
	}
	got := c.Wire()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Wire() (-want +got):\n%s", diff)
	}
	if r := c.LimitRate.String(); r != "1M/s" {
		t.Errorf("the rate is %q; want 1M/s", r)
	}
}
