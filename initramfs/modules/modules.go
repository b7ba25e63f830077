// Package modules finds what a kernel must load and in which order, from the
// modules' own words: depends and softdep in .modinfo, and modules.builtin. A
// module folder needs no depmod. It is linked into PID 1.
package modules

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// A Source holds the files of one /usr/lib/modules/RELEASE folder.
// Reads come in batches, because an OCI image gives its files only in the
// order of its layers.
type Source interface {
	// Names lists the files, relative, with slashes.
	Names() ([]string, error)
	// Read returns the content of the named files; one that is absent is
	// left out.
	Read(names []string) (map[string][]byte, error)
}

// A Module is a kernel module, decompressed.
type Module struct {
	// Name has underscores only, as lsmod prints it.
	Name string
	// Path is relative to the module folder and ends in .ko.
	Path string
	// Optional modules may fail to load.
	Optional bool
	Data     []byte
}

// A Decompressor returns the content of the module in the named file.
type Decompressor func(name string, b []byte) ([]byte, error)

// Resolve returns the wanted modules and what they depend on, each
// after its dependencies, otherwise in the order of want. A leading "?" makes
// a name optional: when the kernel does not have it, it is left out. Modules
// built into the kernel are left out too.
func Resolve(src Source, want []string, decompress Decompressor) ([]Module, error) {
	r, err := newResolver(src)
	if err != nil {
		return nil, err
	}
	r.decompress = decompress
	var names []string
	for _, w := range want {
		names = append(names, r.find(strings.TrimPrefix(w, "?")))
	}
	if err := r.load(names); err != nil {
		return nil, err
	}
	for i, w := range want {
		if err := r.visit(names[i], strings.HasPrefix(w, "?"), nil); err != nil {
			return nil, err
		}
	}
	return r.order, nil
}

type resolver struct {
	src        Source
	decompress Decompressor
	files      map[string]string // module name -> file in src
	builtin    map[string]bool
	mods       map[string]*loaded
	placed     map[string]int // module name -> index in order
	order      []Module
}

type loaded struct {
	data []byte
	info modinfo
}

func newResolver(src Source) (*resolver, error) {
	names, err := src.Names()
	if err != nil {
		return nil, fmt.Errorf("listing modules: %w", err)
	}
	r := &resolver{src: src, files: map[string]string{}, builtin: map[string]bool{}, mods: map[string]*loaded{}, placed: map[string]int{}}
	slices.Sort(names)
	for _, name := range names {
		if mod, ok := moduleName(name); ok {
			// modprobe prefers updates/ to kernel/, whatever the order.
			if _, dup := r.files[mod]; !dup || strings.HasPrefix(name, "updates/") {
				r.files[mod] = name
			}
		}
	}
	return r, nil
}

// load reads the modules called names and all that they depend on, one batch
// for each step of the dependency graph.
func (r *resolver) load(names []string) error {
	batch := []string{"modules.builtin"}
	for first := true; len(names) > 0; first = false {
		var want []string
		for _, n := range names {
			if f, ok := r.files[n]; ok && r.mods[n] == nil && !slices.Contains(want, n) {
				want, batch = append(want, n), append(batch, f)
			}
		}
		if len(batch) == 0 {
			return nil
		}
		got, err := r.src.Read(batch)
		if err != nil {
			return fmt.Errorf("reading modules: %w", err)
		}
		if first {
			for line := range strings.Lines(string(got["modules.builtin"])) {
				if mod, ok := moduleName(strings.TrimSpace(line)); ok {
					r.builtin[mod] = true
				}
			}
		}
		names, batch = nil, nil
		for _, n := range want {
			m, err := r.decode(n, got)
			if err != nil {
				return err
			}
			r.mods[n] = m
			names = append(names, m.info.all()...)
		}
	}
	return nil
}

func (r *resolver) decode(name string, got map[string][]byte) (*loaded, error) {
	file := r.files[name]
	packed, ok := got[file]
	if !ok {
		return nil, fmt.Errorf("reading module %s: %w", file, fs.ErrNotExist)
	}
	data, err := r.decompress(file, packed)
	if err != nil {
		return nil, fmt.Errorf("reading module %s: %w", file, err)
	}
	info, err := readModinfo(data)
	if err != nil {
		return nil, fmt.Errorf("reading module %s: %w", file, err)
	}
	for _, list := range [][]string{info.pre, info.depends, info.post} {
		for i, name := range list {
			list[i] = r.find(name)
		}
	}
	return &loaded{data, info}, nil
}

// find returns the name of the module that another one asks for. Soft
// dependencies may name what a module offers instead, "crypto-crc32c": that is
// in modules.alias, which only depmod makes, but the plain module for it has a
// name that follows.
func (r *resolver) find(name string) string {
	name = canonical(name)
	base := strings.TrimPrefix(name, "crypto_")
	for _, n := range []string{name, base, base + "_generic"} {
		if r.files[n] != "" || r.builtin[n] {
			return n
		}
	}
	return name
}

// visit places name after what it depends on. A dependency of an optional
// module is optional as well, until something that is required asks for it.
func (r *resolver) visit(name string, optional bool, path []string) error {
	if slices.Contains(path, name) {
		return fmt.Errorf("modules depend on each other: %s", strings.Join(append(path, name), " -> "))
	}
	m, ok := r.mods[name]
	if !ok {
		if optional || r.builtin[name] {
			return nil
		}
		return fmt.Errorf("module %s is neither in the kernel's module folder nor built in", name)
	}
	if i, done := r.placed[name]; done && (optional || !r.order[i].Optional) {
		return nil
	}
	path = append(slices.Clone(path), name)
	for _, d := range m.info.pre {
		// A soft dependency may form a cycle; modprobe ignores it then.
		if !slices.Contains(path, d) {
			if err := r.visit(d, true, path); err != nil {
				return err
			}
		}
	}
	for _, d := range m.info.depends {
		if err := r.visit(d, optional, path); err != nil {
			return err
		}
	}
	if i, done := r.placed[name]; done {
		r.order[i].Optional = optional
	} else {
		r.placed[name] = len(r.order)
		r.order = append(r.order, Module{Name: name, Path: plainPath(r.files[name]), Optional: optional, Data: m.data})
	}
	for _, d := range m.info.post {
		if !slices.Contains(path, d) {
			if err := r.visit(d, true, path); err != nil {
				return err
			}
		}
	}
	return nil
}

// moduleName returns the canonical name of the module in file, if it is one.
func moduleName(file string) (string, bool) {
	base := path.Base(plainPath(file))
	name, ok := strings.CutSuffix(base, ".ko")
	return canonical(name), ok
}

func plainPath(file string) string {
	for _, ext := range []string{".xz", ".zst", ".gz"} {
		if s, ok := strings.CutSuffix(file, ".ko"+ext); ok {
			return s + ".ko"
		}
	}
	return file
}

func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }
