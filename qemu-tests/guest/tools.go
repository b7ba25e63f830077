package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/squashfs/squashfstest"
)

type tool struct {
	min int // arguments
	run func(args []string) error
}

// tools stand in for the shell that the tiny image does not have.
var tools = map[string]tool{
	"cat":   {1, cat},
	"clock": {1, func(a []string) error { return clock(a[0]) }},
	"cp":    {2, func(a []string) error { return cp(a[0], a[1]) }},
	"get":   {1, func(a []string) error { return get(a[0], os.Stdout) }},
	"ls":    {1, ls},
	"write": {2, func(a []string) error { return write(a[0], a[1]) }},
	"mkdir": {1, func(a []string) error { return os.MkdirAll(a[0], 0o755) }},
	"rm":    {1, func(a []string) error { return os.RemoveAll(a[0]) }},
	"mount": {3, func(a []string) error { return mount(a) }},
	"list":  {1, func(a []string) error { return list(a[0], os.Stdout) }},
	"names": {1, func(a []string) error { return names(a[0], os.Stdout) }},
	"sum":   {1, func(a []string) error { return sum(a[0], os.Stdout) }},
	"sync":  {0, func([]string) error { unix.Sync(); return nil }},
}

func toolNames() string { return strings.Join(slices.Sorted(maps.Keys(tools)), " ") }

func cat(files []string) error {
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// clock sets the clock, to RFC 3339.
func clock(text string) error {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return err
	}
	return unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Sec: t.Unix()})
}

func cp(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

func ls(dirs []string) error {
	for _, d := range dirs {
		entries, err := os.ReadDir(d)
		if err != nil {
			return err
		}
		for _, e := range entries {
			fmt.Println(filepath.Join(d, e.Name()))
		}
	}
	return nil
}

// write makes a file durable with the folder that names it.
func write(name, text string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return err
	}
	unix.Sync()
	return nil
}

// mount takes device, folder, type and optionally data; always read-only.
func mount(a []string) error {
	if err := os.MkdirAll(a[1], 0o755); err != nil {
		return err
	}
	data := ""
	if len(a) > 3 {
		data = a[3]
	}
	if err := unix.Mount(a[0], a[1], a[2], unix.MS_RDONLY, data); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", a[0], a[1], err)
	}
	return nil
}

// list prints all that a squashfs holds, as squashfstest writes it.
func list(dir string, w io.Writer) error {
	l, err := squashfstest.List(dir)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, l)
	return err
}

// sum prints the digest of what list prints, for trees whose listing is long.
func sum(dir string, w io.Writer) error {
	h := sha256.New()
	if err := list(dir, h); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%x\n", h.Sum(nil))
	return err
}

// Every namesStep-th name is looked up: each one costs a millisecond without
// acceleration.
const namesStep = 101

// names prints how many entries a large folder has and the digest of all names
// in order, with size and owner after some of them.
func names(dir string, w io.Writer) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	h := sha256.New()
	for i, e := range entries {
		fmt.Fprintln(h, e.Name())
		if i%namesStep != 0 {
			continue
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, e.Name()), &st); err != nil {
			return fmt.Errorf("looking up %s: %w", e.Name(), err)
		}
		fmt.Fprintln(h, st.Mode&unix.S_IFMT == unix.S_IFDIR, st.Uid)
	}
	_, err = fmt.Fprintf(w, "%d %x\n", len(entries), h.Sum(nil))
	return err
}
