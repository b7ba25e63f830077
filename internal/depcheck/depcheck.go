// Package depcheck reads the import graph and finds paths in it. Its tests
// keep two rules of docs/architecture.md: imports point one way, and what PID 1
// of the initramfs links stays small and without a network.
package depcheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// A Graph maps an import path to the paths that the package imports, tests
// not counted.
type Graph map[string][]string

// Load lists the packages that match the patterns and all that they depend
// on, with cgo off: as abinit is built.
func Load(dir string, patterns ...string) (Graph, error) {
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=ImportPath,Imports,ImportMap"}, patterns...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing packages: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return decode(bytes.NewReader(out))
}

func decode(r io.Reader) (Graph, error) {
	g := Graph{}
	for dec := json.NewDecoder(r); ; {
		var p struct {
			ImportPath string
			Imports    []string
			ImportMap  map[string]string // as written in the source: vendored names
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return g, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading the package list: %w", err)
		}
		for _, name := range p.Imports {
			if mapped, ok := p.ImportMap[name]; ok {
				name = mapped
			}
			g[p.ImportPath] = append(g[p.ImportPath], name)
		}
		if g[p.ImportPath] == nil {
			g[p.ImportPath] = []string{}
		}
	}
}

// Path returns a shortest chain of imports from a package to one that bad
// accepts, or nil. The first package itself does not count.
func (g Graph) Path(from string, bad func(string) bool) []string {
	came := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		for _, next := range g[queue[0]] {
			if _, seen := came[next]; seen {
				continue
			}
			came[next] = queue[0]
			if bad(next) {
				var chain []string
				for p := next; p != ""; p = came[p] {
					chain = append(chain, p)
				}
				slices.Reverse(chain)
				return chain
			}
			queue = append(queue, next)
		}
	}
	return nil
}

// Below says whether a package is one of the named ones or in a folder below
// them.
func Below(pkg string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return pkg == name || strings.HasPrefix(pkg, name+"/")
	})
}
