package debianimage

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Wanted says what Collect gathers.
type Wanted struct {
	Install  []string            // what to install above the minimal set
	Download map[string][]string // packages by the name of a set; what they need comes with them
}

// A Collection is Debian's content as files, for tests that make images of it.
type Collection struct {
	Minimal string // tar of the root with Debian's minimal set
	Upper   string // tar of the layer that installing Wanted.Install puts on it
	sets    string
}

// Debs lists the packages of a set, sorted by name.
func (c *Collection) Debs(set string) ([]string, error) {
	debs, err := filepath.Glob(filepath.Join(c.sets, set, "*.deb"))
	if err == nil && len(debs) == 0 {
		err = fmt.Errorf("listing packages of %s: there are none in %s", set, c.sets)
	}
	return debs, err
}

// Collect makes a root and a layer for it and downloads packages, once: the
// next time they come from the cache. Sets of packages are only fetched, so
// that a dozen of them costs no dozen installations.
func Collect(ctx context.Context, opt Options, want Wanted) (*Collection, error) {
	if opt.Suite == "" {
		var err error
		if opt.Suite, err = hostSuite(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(opt.CacheDir, 0o755); err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(opt.CacheDir, "debian.lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	dir := filepath.Join(opt.CacheDir, want.cacheName(opt.Suite))
	c := &Collection{filepath.Join(dir, "minimal.tar"), filepath.Join(dir, "upper.tar"), filepath.Join(dir, "sets")}
	if _, err := os.Stat(dir); err == nil {
		return c, nil // it is renamed when it is whole
	}
	if err := removeLeftovers(opt.CacheDir); err != nil {
		return nil, err
	}
	m, err := newMaker(ctx, opt.Suite, opt)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(m.dir)
	if err := m.collect(ctx, want); err != nil {
		return nil, fmt.Errorf("collecting Debian packages: %w", err)
	}
	return c, os.Rename(m.file("collection"), dir)
}

func (w Wanted) cacheName(suite string) string {
	h := sha256.New()
	const format = 1 // goes up when the same wishes are granted in another way
	wishes, _ := json.Marshal(w)
	fmt.Fprintf(h, "%d %s %d %s %q %q", format, suite, epoch, wishes, mmdebstrapArgs(""), hooks)
	return fmt.Sprintf("packages-%s-%x", suite, h.Sum(nil)[:6])
}

// emptyDev makes room for the devices that mmdebstrap itself puts into a root.
const emptyDev = `--setup-hook=rm -rf "$1"/dev/* && mkdir -p "$1/dev/pts" "$1/dev/shm"`

// fetched is where packages are put in a root before they are copied out and
// removed again.
const fetched = "/abupdate-packages"

func (m *maker) collect(ctx context.Context, want Wanted) error {
	if err := os.MkdirAll(m.file("collection/sets"), 0o755); err != nil {
		return err
	}
	minimal := append(mmdebstrapArgs(m.dir), "--variant=minbase")
	for _, set := range slices.Sorted(maps.Keys(want.Download)) {
		archives := `"$1"` + fetched + "/" + set
		minimal = append(minimal, "--customize-hook=mkdir -p "+archives+"/partial && "+
			`APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq -y --download-only -o Dir::Cache::archives=`+archives+
			" install "+strings.Join(want.Download[set], " ")+" && rm -r "+archives+"/partial "+archives+"/lock")
	}
	minimal = append(minimal, "--customize-hook=sync-out "+fetched+" "+m.file("collection/sets"), `--customize-hook=rm -r "$1"`+fetched)
	// The last hooks take the mirrors away.
	if err := m.mmdebstrap(ctx, "collection/minimal.tar", append(minimal, hooks...)); err != nil {
		return err
	}
	installed := append(mmdebstrapArgs(m.dir), hooks...)
	installed = append(installed, "--variant=custom", "--include="+strings.Join(want.Install, ","),
		"--setup-hook=tar-in "+m.file("collection/minimal.tar")+" /", emptyDev)
	if err := m.mmdebstrap(ctx, "installed.tar", installed); err != nil {
		return err
	}
	return writeDiff(m.file("collection/upper.tar"), m.file("collection/minimal.tar"), m.file("installed.tar"))
}
