// Package health runs the checks that a system must pass before its slot is
// confirmed: it finds them, runs each with its time, keeps what it printed,
// and tells the operator.
package health

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Dirs hold the checks, of the image and of the administrator. The files in
// them are required; those in their folder "wanted" are only told of. A file
// takes the place of one of the same name in an earlier folder, in either
// class; a symlink to /dev/null takes that one away.
var Dirs = []string{"/usr/lib/abupdate/health.d", "/etc/abupdate/health.d"}

// wanted is the folder of the checks that decide nothing.
const wanted = "wanted"

// DefaultTimeout is how long a check may take that says nothing else.
const DefaultTimeout = time.Minute

// A Check is a program that ends with 0 when all is well.
type Check struct {
	Name     string
	Argv     []string
	Required bool
	Timeout  time.Duration
	// Problem says why it cannot be run, "" if it can.
	Problem string
}

// Options say how long checks may take. Timeouts, by name, count more than
// what a check says of itself, and that more than Timeout; 0 is
// DefaultTimeout.
type Options struct {
	Timeout  time.Duration
	Timeouts map[string]time.Duration
}

// Find returns the checks below root, by name.
func Find(root string, opt Options) ([]Check, error) {
	found := make(map[string]Check)
	for _, dir := range Dirs {
		// Of a name in both classes of one folder, the required one counts.
		for _, class := range []string{wanted, ""} {
			if err := find(found, filepath.Join(root, dir, class), class == ""); err != nil {
				return nil, fmt.Errorf("looking for health checks: %w", err)
			}
		}
	}
	checks := make([]Check, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		c := found[name]
		c.Timeout = opt.timeout(c)
		checks = append(checks, c)
	}
	return checks, nil
}

// find adds the checks of one folder.
func find(found map[string]Check, dir string, required bool) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, path := e.Name(), filepath.Join(dir, e.Name())
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || e.IsDir() {
			continue
		}
		if target, err := os.Readlink(path); err == nil && target == os.DevNull {
			delete(found, name)
			continue
		}
		c := Check{Name: name, Argv: []string{path}, Required: required}
		// A check that somebody forgot to make executable must not be taken
		// for one that passed.
		if info, err := os.Stat(path); err != nil {
			c.Problem = err.Error()
		} else if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			c.Problem = "it is not an executable file"
		}
		found[name] = c
	}
	return nil
}

func (opt Options) timeout(c Check) time.Duration {
	if d := opt.Timeouts[c.Name]; d > 0 {
		return d
	}
	if d := ownTimeout(c.Argv[0]); d > 0 {
		return d
	}
	if opt.Timeout > 0 {
		return opt.Timeout
	}
	return DefaultTimeout
}

// ownTimeout is what the first lines of a script say: "# abupdate-timeout: 5m".
func ownTimeout(path string) time.Duration {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil || !bytes.HasPrefix(head, []byte("#!")) {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(head)); lines.Scan(); {
		if v, ok := strings.CutPrefix(lines.Text(), "# abupdate-timeout:"); ok {
			if d, err := time.ParseDuration(strings.TrimSpace(v)); err == nil {
				return d
			}
		}
	}
	return 0
}
