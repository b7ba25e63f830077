package selector

import (
	"fmt"
	"slices"
)

// A Kind says what a Step does.
type Kind int

// The kinds of steps.
const (
	PutFile     Kind = iota // File gets what has Digest, from From or from the slot
	RemoveFile              // File
	SetEntry                // Entry
	DeleteEntry             // Entry
	SetOrder                // BootOrder becomes Order
	SetNext                 // BootNext becomes Order, none: it is deleted
	SetRecord               // Record
)

// A Step is one change. All but PutFile are one operation on the ESP or one
// variable.
type Step struct {
	Kind   Kind
	File   string
	Digest string
	From   string // name on the ESP; "": the slot's selector
	Via    string // PutFile writes this first, and renames it; "": File
	Entry  Entry
	Order  []uint16
	Record Record
}

func (s Step) String() string {
	switch s.Kind {
	case PutFile:
		return fmt.Sprintf("write %s with selector %.12s", s.File, s.Digest)
	case RemoveFile:
		return "remove " + s.File
	case SetEntry:
		return fmt.Sprintf("set Boot%04X to %s", s.Entry.Number, s.Entry.File)
	case DeleteEntry:
		return fmt.Sprintf("delete Boot%04X, %s", s.Entry.Number, s.Entry.File)
	case SetOrder:
		return fmt.Sprintf("set BootOrder to %04X", s.Order)
	case SetNext:
		return fmt.Sprintf("set BootNext to %04X", s.Order)
	}
	return "save the record"
}

// A planner collects steps, and what is true after them.
type planner struct {
	w     World
	opt   Options
	steps []Step
	rec   Record
	order []uint16
	free  int64
}

func (p *planner) add(s Step) { p.steps = append(p.steps, s) }

// save saves the record as it is now.
func (p *planner) save() {
	rec := Record{Failed: slices.Clone(p.rec.Failed)}
	if p.rec.Trial != nil {
		t := *p.rec.Trial
		rec.Trial = &t
	}
	if p.rec.Default != nil {
		d := *p.rec.Default
		rec.Default = &d
	}
	p.add(Step{Kind: SetRecord, Record: rec})
}

func (p *planner) setOrder(order []uint16) {
	if !slices.Equal(p.order, order) {
		p.order = order
		p.add(Step{Kind: SetOrder, Order: slices.Clone(order)})
	}
}

// label begins the labels of entries that are abupdate's.
const label = "abupdate "

// find returns abupdate's entry for a file, or nil.
func (p *planner) find(file string) *Entry {
	return p.w.entry(func(e Entry) bool {
		return len(e.Label) > len(label) && e.Label[:len(label)] == label && same(e.File, file)
	})
}

// ensure returns the number of the entry for a file, which is made when it is
// missing.
func (p *planner) ensure(file, name string) uint16 {
	if e := p.find(file); e != nil {
		return e.Number
	}
	e := Entry{Label: label + name, File: file}
	for p.w.entry(func(o Entry) bool { return o.Number == e.Number }) != nil || slices.Contains(p.order, e.Number) {
		e.Number++
	}
	p.w.Entries = append(p.w.Entries, e)
	p.add(Step{Kind: SetEntry, Entry: e})
	return e.Number
}

// forget deletes an entry, after what names it.
func (p *planner) forget(e Entry) {
	p.setOrder(without(p.order, e.Number))
	if slices.Contains(p.w.Next, e.Number) {
		p.w.Next = nil
		p.add(Step{Kind: SetNext})
	}
	p.w.Entries = slices.DeleteFunc(slices.Clone(p.w.Entries), func(o Entry) bool { return o.Number == e.Number })
	p.add(Step{Kind: DeleteEntry, Entry: e})
}

func (p *planner) remove(f File) {
	if e := p.find(f.Name); e != nil {
		p.forget(*e)
	}
	p.drop(f)
}

// drop removes a file, and nothing that names it.
func (p *planner) drop(f File) {
	p.w.Files = slices.DeleteFunc(slices.Clone(p.w.Files), func(o File) bool { return o.Name == f.Name })
	p.free += p.w.Room.takes(f.Size)
	p.add(Step{Kind: RemoveFile, File: f.Name})
}

func without(list []uint16, numbers ...uint16) []uint16 {
	return slices.DeleteFunc(slices.Clone(list), func(n uint16) bool { return slices.Contains(numbers, n) })
}
