package selector_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode/utf16"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/selector"
)

const (
	fallback = "EFI/BOOT/BOOTX64.EFI"
	global   = "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	imageVar = "LoaderImageIdentifier-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
	cluster  = 16
)

var esp = selector.ESP{GUID: "0f4a2c1e-9d5b-4a77-8f01-0123456789ab", Number: 1, Start: 2048, Blocks: 131072}

// errCut is the power that goes.
var errCut = errors.New("the power is gone")

// A change is one operation on the ESP that is not on the disk yet.
type change struct {
	op       string // create, rename, remove
	name, to string
	content  string
}

// machine is an ESP, variables, and the firmware that boots from them. What
// was not synced is on the disk in part, in any order.
type machine struct {
	t       *testing.T
	files   map[string]string // as the running system sees them
	disk    map[string]string // what is on the disk for sure
	pending []change
	vars    map[string][]byte
	none    bool  // the firmware has no variables
	size    int64 // of the ESP
	left    int   // operations until the power goes; negative: it stays
	full    int   // the operation, from 1 on, that fails with ENOSPC; 0: none
	slot    string
	boots   int
	// unreadable is a file that gives EIO, as long as it is not removed.
	unreadable string
	log        []string
}

// newMachine was installed with the selector "good 0" and runs from it.
func newMachine(t *testing.T) *machine {
	m := &machine{t: t, disk: map[string]string{fallback: "good 0"}, vars: map[string][]byte{}, size: 1 << 20, left: -1}
	m.vars["Boot0000"+global] = []byte("\x01\x00\x00\x00\x04\x00U\x00\x00\x00\x7f\xff\x04\x00") // the firmware's own
	m.vars["BootOrder"+global] = []byte{0, 0}
	m.boot()
	return m
}

func (m *machine) clone() *machine {
	c := *m
	c.files, c.disk, c.vars = maps.Clone(m.files), maps.Clone(m.disk), maps.Clone(m.vars)
	c.pending, c.log = slices.Clone(m.pending), slices.Clone(m.log)
	return &c
}

// do counts an operation down.
func (m *machine) do(format string, args ...any) error {
	if m.left == 0 {
		return errCut
	}
	m.left--
	if m.full--; m.full == 0 {
		return syscall.ENOSPC
	}
	m.log = append(m.log, fmt.Sprintf(format, args...))
	return nil
}

func (m *machine) List(dir string) (list []selector.File, err error) {
	for _, name := range slices.Sorted(maps.Keys(m.files)) {
		if path.Dir(name) == dir {
			list = append(list, selector.File{Name: name, Size: int64(len(m.files[name]))})
		}
	}
	return list, nil
}

func (m *machine) Open(name string) (io.ReadCloser, error) {
	for k, v := range m.files {
		if strings.EqualFold(k, m.unreadable) && strings.EqualFold(k, name) {
			return nil, syscall.EIO
		}
		if strings.EqualFold(k, name) {
			return io.NopCloser(strings.NewReader(v)), nil
		}
	}
	return nil, fs.ErrNotExist
}

func (m *machine) Create(name string, r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	err = m.do("create %s", name)
	if errors.Is(err, syscall.ENOSPC) {
		b = b[:len(b)/2]
	} else if err != nil {
		return err
	}
	m.change(change{op: "create", name: name, content: string(b)})
	return err
}

func (m *machine) Rename(from, to string) error {
	if err := m.do("rename %s %s", from, to); err != nil {
		return err
	}
	m.change(change{op: "rename", name: from, to: to})
	return m.SyncDir(path.Dir(to))
}

func (m *machine) Remove(name string) error {
	if _, ok := m.files[name]; !ok {
		m.t.Errorf("%s is removed, which is not there", name)
	}
	if err := m.do("remove %s", name); err != nil {
		return err
	}
	if m.change(change{op: "remove", name: name}); name == m.unreadable {
		m.unreadable = ""
	}
	return nil
}

func (m *machine) change(c change) {
	m.pending = append(m.pending, c)
	apply(m.files, c, false)
}

// apply does a change; torn: one that was cut in the middle.
func apply(files map[string]string, c change, torn bool) {
	switch c.op {
	case "create":
		files[c.name] = c.content
		if torn {
			files[c.name] = c.content[:len(c.content)/2]
		}
	case "rename":
		content, ok := files[c.name]
		if !ok {
			return // it never got to the disk
		}
		// FAT takes the old name away before it gives the file the new one.
		if delete(files, c.name); !torn {
			files[c.to] = content
		}
	case "remove":
		delete(files, c.name)
	}
}

// Sync puts a new file's content on the disk.
func (m *machine) Sync(name string) error {
	return m.settle("sync "+name, func(c change) bool { return c.op == "create" && c.name == name })
}

// SyncDir puts a folder's names on the disk, not the content of files.
func (m *machine) SyncDir(dir string) error {
	return m.settle("sync "+dir, func(c change) bool {
		return c.op != "create" && (path.Dir(c.name) == dir || path.Dir(c.to) == dir)
	})
}

func (m *machine) settle(what string, covers func(change) bool) error {
	if err := m.do("%s", what); err != nil {
		return err
	}
	m.pending = slices.DeleteFunc(m.pending, func(c change) bool {
		if covers(c) {
			apply(m.disk, c, false)
			return true
		}
		return false
	})
	return nil
}

func (m *machine) Room() (selector.Room, error) {
	free := m.size
	for _, v := range m.files {
		free -= (int64(len(v)) + cluster - 1) / cluster * cluster
	}
	return selector.Room{Free: free, Cluster: cluster}, nil
}

// variables are the machine's.
type variables struct{ *machine }

func (v variables) Get(name string) ([]byte, error) {
	b, ok := v.vars[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return b, nil
}

func (v variables) Set(name string, data []byte) error {
	if err := v.do("set %s", name); err != nil {
		return err
	}
	v.vars[name] = bytes.Clone(data)
	return nil
}

func (v variables) Delete(name string) error {
	if err := v.do("delete %s", name); err != nil {
		return err
	}
	delete(v.vars, name)
	return nil
}

func (v variables) List() ([]string, error) { return slices.Sorted(maps.Keys(v.vars)), nil }

// cuts yields what a cut of the power now may leave.
func (m *machine) cuts() (list []*machine) {
	n := len(m.pending)
	for set := range 1 << n {
		for torn := -1; torn < n; torn++ {
			if torn >= 0 && set&(1<<torn) == 0 {
				continue
			}
			c := m.clone()
			for i, ch := range m.pending {
				if set&(1<<i) != 0 {
					apply(c.disk, ch, i == torn)
				}
			}
			c.pending, c.left = nil, -1
			list = append(list, c)
		}
	}
	return list
}

// boot starts the machine as firmware does, and returns what came up and how
// many programs did not.
func (m *machine) boot() (came string, failed int) {
	m.t.Helper()
	m.files, m.pending = maps.Clone(m.disk), nil
	m.boots++
	delete(m.vars, imageVar)
	var paths []string
	if !m.none {
		next := m.vars["BootNext"+global]
		delete(m.vars, "BootNext"+global)
		for _, list := range [][]byte{next, m.vars["BootOrder"+global]} {
			for ; len(list) >= 2; list = list[2:] {
				if e := m.vars[fmt.Sprintf("Boot%04X%s", binary.LittleEndian.Uint16(list), global)]; len(e) > 0 {
					paths = append(paths, entryPath(e))
				}
			}
		}
	}
	for _, p := range append(paths, fallback) {
		if strings.HasPrefix(m.files[p], "good") {
			if !m.none {
				m.vars[imageVar] = encode16(`\` + strings.ReplaceAll(p, "/", `\`))
			}
			return m.files[p], failed
		}
		failed++
	}
	return "", failed
}

// running is the selector that was started, first the one that BootOrder starts.
func (m *machine) running() string {
	image := entryPath(append([]byte("\x04\x04\x00\x00"), m.vars[imageVar]...))
	return m.files[image]
}

func (m *machine) first() string {
	order := m.vars["BootOrder"+global]
	return m.files[entryPath(m.vars[fmt.Sprintf("Boot%04X%s", binary.LittleEndian.Uint16(order), global)])]
}

// entryPath is what an entry starts: the fallback path when it names no file.
func entryPath(e []byte) string {
	i := bytes.Index(e, []byte("\x04\x04"))
	if i < 0 {
		return fallback
	}
	var units []uint16
	for b := e[i+4:]; len(b) >= 2 && (b[0] != 0 || b[1] != 0); b = b[2:] {
		units = append(units, binary.LittleEndian.Uint16(b))
	}
	return strings.TrimPrefix(strings.ReplaceAll(string(utf16.Decode(units)), `\`, "/"), "/")
}

func encode16(s string) (b []byte) {
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func (m *machine) facts() selector.Facts {
	f := selector.Facts{ESP: esp, Fallback: fallback, Boot: fmt.Sprint("boot ", m.boots)}
	if m.slot != "" {
		f.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(m.slot)), nil }
	}
	return f
}

// update is what a confirmed slot does.
func (m *machine) update(opt selector.Options) (selector.Decision, error) {
	m.t.Helper()
	var v selector.Variables
	if !m.none {
		v = variables{m}
	}
	w, err := selector.Look(m, v, m.facts())
	if err != nil {
		m.t.Fatal(err)
	}
	d := selector.Plan(w, opt)
	return d, cmp.Or(selector.Run(m, v, m.facts(), d.Steps), d.Err)
}

func digest(content string) string {
	h := sha256.Sum256([]byte(content))
	return hex.EncodeToString(h[:])
}

func kind(err error) fault.Kind { return fault.KindOf(err) }
