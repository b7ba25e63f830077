package disk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/partitions/disk"
)

func TestParseSize(t *testing.T) {
	tests := []struct {
		in   string
		want disk.Size
		ok   bool
	}{
		{"512M", 512 << 20, true}, {"2G", 2 << 30, true}, {"1T", 1 << 40, true}, {"4K", 4096, true}, {"0", 0, true},
		{"1048576", 1 << 20, true}, {"512MiB", 512 << 20, true}, {"8192T", 1 << 53, true},
		{"", 0, false}, {"M", 0, false}, {"-1M", 0, false}, {"+1M", 0, false}, {"1.5G", 0, false}, {"10%", 0, false}, {"1 G", 0, false},
		{"1MB", 0, false}, {"5iB", 0, false}, {"9000T", 0, false}, {"99999999999999999999", 0, false}, {"1m", 0, false},
	}
	for _, tt := range tests {
		got, err := disk.ParseSize(tt.in)
		if (err == nil) != tt.ok || got != tt.want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d, ok %v", tt.in, got, err, tt.want, tt.ok)
		}
		if err != nil && fault.KindOf(err) != fault.Usage {
			t.Errorf("ParseSize(%q) has an error of kind %d; want Usage", tt.in, fault.KindOf(err))
		}
		if tt.ok {
			if again, err := disk.ParseSize(got.String()); err != nil || again != got {
				t.Errorf("ParseSize(%q) = %v, %v; want %d", got.String(), again, err, got)
			}
		}
	}
}

func TestDefaultLayout(t *testing.T) {
	for _, image := range []int64{1, 30 << 20, 318 << 20, 4 << 30} {
		l := disk.DefaultLayout(image)
		if err := l.Validate(); err != nil {
			t.Errorf("DefaultLayout(%d) is invalid: %v", image, err)
		}
		if room := partitions.Capacity(int64(l.Slot)); room < image*3/2 {
			t.Errorf("DefaultLayout(%d) has slots of %v for images of at most %d; want room to grow by half", image, l.Slot, room)
		}
		if l.Recovery != l.Slot {
			t.Errorf("DefaultLayout(%d) has recovery %v, slots %v", image, l.Recovery, l.Slot)
		}
	}
}

func TestParseLayout(t *testing.T) {
	const text = `
esp = "64M"
slot = "1G"
recovery = "0"

[[extra]]
label = "nix"
size = "4G"
fs = "none"

[[extra]]
label = "home"
type = "home"
size = "512M"

[[extra]]
label = "snapshots"
type = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
size = "1G"
`
	got, err := disk.ParseLayout(text, disk.DefaultLayout(30<<20))
	if err != nil {
		t.Fatalf("ParseLayout() = %v", err)
	}
	want := disk.Layout{
		ESP: 64 * disk.MiB, Slot: disk.GiB, Var: 256 * disk.MiB,
		Extras: []disk.Extra{
			{Label: "nix", Size: 4 * disk.GiB, FS: "none"},
			{Label: "home", Type: "home", Size: 512 * disk.MiB},
			{Label: "snapshots", Type: "0FC63DAF-8483-4772-8E79-3D69D8477DE4", Size: disk.GiB},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseLayout() mismatch (-want +got):\n%s", diff)
	}
	_, d := create(t, 0, got, disk.Options{})
	if _, ok := d.Partition("recovery"); ok {
		t.Error("a layout with recovery 0 has a recovery partition")
	}
	for _, label := range []string{"nix", "home", "snapshots"} {
		if _, ok := d.Partition(label); !ok {
			t.Errorf("the disk has no partition %s", label)
		}
	}
}

func TestParseLayoutKeepsTheDefault(t *testing.T) {
	def := disk.Layout{ESP: disk.MinESP, Slot: disk.GiB, Var: disk.GiB, Extras: []disk.Extra{{Label: "nix", Size: disk.GiB}}}
	got, err := disk.ParseLayout("", def)
	if diff := cmp.Diff(def, got); diff != "" || err != nil {
		t.Errorf("ParseLayout(nothing) = %v, mismatch (-want +got):\n%s", err, diff)
	}
	got, err = disk.ParseLayout("[[extra]]\nlabel = \"srv\"\ntype = \"srv\"\nsize = \"2G\"", def)
	want := []disk.Extra{{Label: "srv", Type: "srv", Size: 2 * disk.GiB}}
	if diff := cmp.Diff(want, got.Extras); diff != "" || err != nil {
		t.Errorf("ParseLayout(another extra) = %v, mismatch (-want +got):\n%s", err, diff)
	}
	if def.Extras[0].Label != "nix" {
		t.Error("ParseLayout() changed the default that it was given")
	}
}

func TestParseLayoutRefuses(t *testing.T) {
	extra := func(s string) string { return "[[extra]]\n" + s }
	tests := []struct{ name, text, want string }{
		{"no TOML", "slot = ", "line 1: "},
		{"unknown key", `slots = "1G"`, "unknown key slots"},
		{"unknown key of an extra", extra(`label = "x"` + "\nsize = \"1G\"\nmount = \"/x\""), "unknown key extra.mount"},
		{"no size", `slot = "big"`, `size "big" is not a number`},
		{"percent", `var = "50%"`, `size "50%" is not a number`},
		{"slot too small", `slot = "1M"`, "slot is 1M, at least 2M is needed"},
		{"ESP too small for FAT32", `esp = "32M"`, "esp is 32M, at least 40M is needed"},
		{"var too small", `var = "0"`, "var is 0, at least 16M is needed"},
		{"recovery too small", `recovery = "1M"`, "recovery is 1M, at least 2M is needed; 0 leaves it out"},
		{"not on the grain", `slot = "10000K"`, "slot is 10000K, not a multiple of 1M"},
		{"bare number", `slot = 4096`, "slot is 4K, at least 2M"},
		{"extra without a label", extra(`size = "1G"`), `extra 1: label "" is not`},
		{"extra with a label too long", extra(`label = "` + strings.Repeat("x", 37) + `"`), "is not 1 to 36"},
		{"extra without a size", extra(`label = "x"`), "extra 1: x: size 0 is not"},
		{"extra with a type nobody knows", extra(`label = "x"` + "\nsize = \"1G\"\ntype = \"swap\""), `type "swap" is neither`},
		{"extra of the state's type", extra(`label = "x"` + "\nsize = \"1G\"\ntype = \"" + strings.ToUpper(partitions.StateType) + `"`), "that of the boot state"},
		{"extra with a file system", extra(`label = "x"` + "\nsize = \"1G\"\nfs = \"ext4\""), `fs "ext4": only none`},
		{"extra with our label", extra(`label = "root-a"` + "\nsize = \"1G\""), "the label root-a is taken"},
		{"two extras of a name", extra("label = \"x\"\nsize = \"1G\"\n") + extra("label = \"x\"\nsize = \"1G\""), "extra 2: the label x is taken"},
		{"more than a table holds", func() string {
			var b strings.Builder
			for i := range 123 {
				fmt.Fprintf(&b, "[[extra]]\nlabel = \"x%d\"\nsize = \"1M\"\n", i)
			}
			return b.String()
		}(), "129 partitions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "layout.toml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := disk.ReadLayout(path, small)
			if fault.KindOf(err) != fault.Usage || !strings.Contains(fmt.Sprint(err), tt.want) || !strings.Contains(fmt.Sprint(err), path) {
				t.Errorf("ReadLayout() = %v (kind %d); want %q, the file's name, kind Usage", err, fault.KindOf(err), tt.want)
			}
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("ReadLayout() = %v: more than one line", err)
			}
		})
	}
	if _, err := disk.ReadLayout(filepath.Join(t.TempDir(), "none"), small); fault.KindOf(err) != fault.Usage {
		t.Errorf("ReadLayout(no such file) = %v; want kind Usage", err)
	}
}
