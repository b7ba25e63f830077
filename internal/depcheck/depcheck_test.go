package depcheck_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/depcheck"
)

const module = "github.com/abupdate/abupdate"

// initSafe are the packages that the initramfs may link.
var initSafe = []string{
	"bootctl", "partitions", "verity", "verity/dm", "initramfs", "initramfs/etc", "initramfs/modules", "initramfs/unpack", "recovery", "cmd/abinit",
	"internal/blockdev", "internal/durable", "internal/fault", "internal/fstree", "internal/manifest", "internal/paged", "internal/watchdog", "updater/trust",
}

// tooMuch must not be in PID 1: a network client has no business there, and
// the rest costs more than it gives.
var tooMuch = []string{
	"net/http", "crypto/tls", "crypto/x509", "os/exec", "os/signal", "regexp", "text/template", "go/ast", "testing", "flag",
	"github.com/spf13", "github.com/google/go-containerregistry", "github.com/diskfs/go-diskfs",
	"github.com/BurntSushi/toml",
	"github.com/cavaliergopher/grab", "github.com/vbauerster/mpb", "github.com/sirupsen/logrus", "github.com/docker",
}

// mayImport is the one way that imports point: each package with those of
// this module that it may import, besides leaves. A new package needs a row.
var mayImport = map[string]string{
	// What both sides know: formats and devices.
	"bootctl":    "",
	"verity":     "",
	"verity/dm":  "verity",
	"partitions": "bootctl verity",
	// Who signed an update: the device checks, build hosts sign.
	"updater/trust":      "",
	"updater/trust/keys": "updater/trust",

	// The device at boot.
	"initramfs/etc":     "",
	"initramfs/modules": "",
	"initramfs/unpack":  "",
	"recovery":          "bootctl partitions verity",
	"initramfs":         "bootctl initramfs/etc initramfs/modules initramfs/unpack partitions recovery updater/trust verity verity/dm",
	"cmd/abinit":        "initramfs",

	// From an image to bytes: ref -> entries -> squashfs. Neither end knows of
	// the other, nor of disks.
	"internal/inflate": "",
	"internal/wire":    "",
	"oci":              "internal/inflate internal/wire",
	"squashfs":         "",
	"updater/compose":  "oci squashfs verity",

	// Making what boots.
	"partitions/disk": "partitions",
	"initramfs/build": "initramfs/modules initramfs/unpack",

	// The engine and its command.
	"internal/unsquash": "",
	"updater/units":     "",
	"updater/health":    "",
	"updater/selector":  "",
	"updater/lint":      "partitions",
	"updater/delta":     "verity",
	"updater/transfer":  "updater/delta verity",
	"updater/diff":      "bootctl updater/delta verity",
	"updater":           "bootctl initramfs/build internal/unsquash internal/wire oci partitions partitions/disk squashfs updater/compose updater/delta updater/diff updater/health updater/selector updater/transfer updater/trust updater/trust/keys verity verity/dm",
	"updater/install":   "bootctl initramfs/build oci partitions partitions/disk squashfs updater updater/compose updater/trust updater/trust/keys verity",
	"cmd/abupdate":      "bootctl initramfs/build initramfs/etc internal/demo internal/wire oci partitions partitions/disk squashfs updater updater/compose updater/diff updater/health updater/install updater/lint updater/selector updater/transfer updater/trust updater/trust/keys updater/units verity",

	// The demo drives the command in a virtual machine.
	"internal/vm":          "",
	"internal/debianimage": "updater/units",
	"internal/demo":        "bootctl internal/debianimage internal/vm updater",

	// Nothing links what measures.
	"internal/bench": "internal/debianimage internal/vm partitions squashfs verity",
}

// leaves may be imported by everything and import only each other.
var leaves = []string{"internal/blockdev", "internal/durable", "internal/fault", "internal/fstree", "internal/manifest", "internal/paged", "internal/watchdog"}

// forTests says whether a package is for tests only: it may import anything,
// and only its like may import it.
func forTests(pkg string) bool {
	return strings.HasSuffix(pkg, "test") || depcheck.Below(pkg, "qemu-tests", "internal/testimage", "internal/depcheck", "internal/conformance", "internal/interop", "internal/faultserver", "internal/logwrites")
}

func load(t *testing.T) depcheck.Graph {
	t.Helper()
	g, err := depcheck.Load("../..", "./...")
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// own cuts the module's path off its packages' names.
func own(pkg string) (string, bool) { return strings.CutPrefix(pkg, module+"/") }

func TestInitSafePackages(t *testing.T) {
	g := load(t)
	for _, name := range initSafe {
		pkg := module + "/" + name
		if _, ok := g[pkg]; !ok {
			t.Errorf("there is no package %s", pkg)
		}
		chain := g.Path(pkg, func(p string) bool {
			ownName, ours := own(p)
			return depcheck.Below(p, tooMuch...) || ours && !slices.Contains(initSafe, ownName)
		})
		if chain != nil {
			t.Errorf("%s must not link %s, and does:\n\t%s", name, chain[len(chain)-1], strings.Join(chain, "\n\t-> "))
		}
	}
}

func TestImportsPointOneWay(t *testing.T) {
	for pkg, imports := range load(t) {
		name, ours := own(pkg)
		if !ours || forTests(name) {
			continue
		}
		row, ok := mayImport[name]
		if !ok && !slices.Contains(leaves, name) {
			t.Errorf("package %s has no row in the table of what it may import", name)
			continue
		}
		allowed := append(strings.Fields(row), leaves...)
		for _, p := range imports {
			if dep, ours := own(p); ours && !slices.Contains(allowed, dep) {
				t.Errorf("%s imports %s; it may import: %s", name, dep, strings.Join(allowed, ", "))
			}
		}
	}
}

// A row for a package that is gone would allow the next one of that name.
func TestTableNamesPackages(t *testing.T) {
	g := load(t)
	for name, row := range mayImport {
		for _, p := range append(strings.Fields(row), name) {
			if _, ok := g[module+"/"+p]; !ok {
				t.Errorf("row %s: there is no package %s", name, p)
			}
		}
	}
}

func TestPath(t *testing.T) {
	g := depcheck.Graph{
		"a": {"b", "c"}, "b": {"d"}, "c": {"net/http/httptest"}, "d": {"net/http"}, "net/http": {"net"}, "loop": {"loop", "a"},
	}
	http := func(p string) bool { return depcheck.Below(p, "net/http") }
	for _, tt := range []struct {
		from string
		bad  func(string) bool
		want []string
	}{
		{"a", http, []string{"a", "c", "net/http/httptest"}},
		{"b", http, []string{"b", "d", "net/http"}},
		{"loop", http, []string{"loop", "a", "c", "net/http/httptest"}},
		{"net/http", http, nil},
		{"a", func(p string) bool { return depcheck.Below(p, "net/htt", "x") }, nil},
		{"nowhere", http, nil},
	} {
		if diff := cmp.Diff(tt.want, g.Path(tt.from, tt.bad)); diff != "" {
			t.Errorf("Path(%s) differs (-want +got):\n%s", tt.from, diff)
		}
	}
}

func TestLoadKnowsTheStandardLibrary(t *testing.T) {
	g, err := depcheck.Load(".", "net/http")
	if err != nil {
		t.Fatal(err)
	}
	if chain := g.Path("net/http", func(p string) bool { return p == "crypto/tls" }); len(chain) < 2 {
		t.Errorf("Path(net/http, crypto/tls) = %v; want a chain", chain)
	}
	if _, err := depcheck.Load(".", "./no/such/package"); err == nil {
		t.Error("Load() of a package that is not there gives no error")
	}
}
