package selector

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path"

	"github.com/abupdate/abupdate/internal/fault"
)

// Run carries out a decision's steps in their order, and stops at the first
// that fails.
func Run(f Files, v Variables, facts Facts, steps []Step) error {
	for _, s := range steps {
		if err := run(f, v, facts, s); err != nil {
			return fmt.Errorf("updating the selector: %v: %w", s, err)
		}
	}
	return nil
}

func run(f Files, v Variables, facts Facts, s Step) error {
	switch s.Kind {
	case PutFile:
		return putFile(f, facts, s)
	case RemoveFile:
		if err := f.Remove(s.File); err != nil {
			return err
		}
		return f.SyncDir(path.Dir(s.File))
	case SetEntry:
		b, err := s.Entry.encode(facts.ESP)
		if err != nil {
			return err
		}
		return v.Set(s.Entry.variable(), b)
	case DeleteEntry:
		return v.Delete(s.Entry.variable())
	case SetOrder:
		return v.Set(varOrder, encodeNumbers(s.Order...))
	case SetNext:
		if len(s.Order) == 0 {
			return v.Delete(varNext)
		}
		return v.Set(varNext, encodeNumbers(s.Order...))
	}
	b, err := json.Marshal(s.Record)
	if err != nil {
		return err
	}
	return v.Set(varRecord, b)
}

// putFile writes a file and checks what is on the disk. One that replaces
// another has another name until then.
func putFile(f Files, facts Facts, s Step) error {
	open := facts.Open
	if s.From != "" {
		open = func() (io.ReadCloser, error) { return f.Open(s.From) }
	}
	src, err := open()
	if err != nil {
		return err
	}
	defer src.Close()
	name := cmp.Or(s.Via, s.File)
	if err := f.Create(name, src); err != nil {
		return err
	}
	if err := f.Sync(name); err != nil {
		return err
	}
	if err := f.SyncDir(path.Dir(name)); err != nil {
		return err
	}
	if err := compare(f, name, s.Digest); err != nil || name == s.File {
		return err
	}
	if err := f.Rename(name, s.File); err != nil {
		return err
	}
	if err := f.SyncDir(path.Dir(s.File)); err != nil {
		return err
	}
	return compare(f, s.File, s.Digest)
}

func compare(f Files, name, want string) error {
	got, _, err := hash(f.Open(name))
	if err == nil && got != want {
		err = fault.Errorf(fault.Verify, "%s is read back with digest %.12s; want %.12s", name, got, want)
	}
	return err
}
