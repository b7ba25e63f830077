package selector

import (
	"path"
	"slices"

	"github.com/abupdate/abupdate/internal/fault"
)

// Options say how Plan decides.
type Options struct {
	// ReplaceFallback lets the only selector be replaced on firmware without
	// variables.
	ReplaceFallback bool
	// Retry tries a selector again that did not come up.
	Retry bool
}

// A State is how far the selector is.
type State string

// The states.
const (
	None    State = "none"    // the slot brings no selector
	Current State = "current" // the slot's selector was started
	Due     State = "due"     // the slot brings another one
	Ordered State = "ordered" // the next boot tries it
	Failed  State = "failed"  // it did not come up
)

// A Decision is what to do, and what is so afterwards.
type Decision struct {
	State State
	Steps []Step
	// Err is what stands against an update that is due.
	Err error
}

// maxOrders is how often a trial is ordered when cuts leave open whether it
// took place; maxFailed bounds what is remembered.
const maxOrders, maxFailed = 3, 8

// Plan decides what brings the ESP to the selector that the running slot
// brings. The slot must have been confirmed in this boot.
func Plan(w World, opt Options) Decision {
	p := &planner{w: w, opt: opt, rec: w.Record, order: w.Order, free: w.Room.Free}
	if opt.Retry {
		p.rec.Failed = nil
	}
	if !w.Variables {
		return p.withoutVariables()
	}
	if !isOwn(w.Current) && !same(w.Current, w.Fallback) {
		if s := p.state(); s != Due {
			return p.end(s, nil)
		}
		return p.end(Due, fault.Errorf(fault.Refused, "this system was started from %s, which is not abupdate's to replace", w.Current))
	}
	p.settleTrial()
	due := p.settleDefault()
	p.clean()
	if due {
		if err := p.put(w.Fallback, w.Current, p.rec.Default.Digest, p.size(w.Current)); err != nil {
			return p.end(p.state(), err)
		}
	}
	return p.tryOnce()
}

func (p *planner) end(s State, err error) Decision { return Decision{s, p.steps, err} }

// state is how things are when nothing is begun.
func (p *planner) state() State {
	switch w := &p.w; {
	case w.Want.Digest == "":
		return None
	case w.Want.Digest == w.CurrentDigest:
		return Current
	case slices.Contains(p.rec.Failed, w.Want.Digest):
		return Failed
	}
	return Due
}

// intact says that the file that was started is what its name says.
func (p *planner) intact() bool {
	return isOwn(p.w.Current) && same(p.w.Current, Path(p.w.CurrentDigest))
}

// settleTrial makes a selector the default that came up in its trial, or
// remembers that it did not.
func (p *planner) settleTrial() {
	t, w := p.rec.Trial, &p.w
	came := t != nil && t.Digest == w.CurrentDigest && p.intact()
	switch {
	case came, p.rec.Default == nil && p.intact():
		p.promote(t)
	case t == nil || t.Boot == w.Boot:
	case t.Armed || t.Orders >= maxOrders:
		p.rec.Trial = nil
		p.rec.Failed = append(slices.Clone(p.rec.Failed), t.Digest)
		p.rec.Failed = p.rec.Failed[max(0, len(p.rec.Failed)-maxFailed):]
		if d := p.rec.Default; d != nil && d.Digest == t.Digest {
			p.rec.Default = nil // what was started instead becomes it
		}
		p.save()
	}
}

// promote puts the selector that was started first, what ordered it second,
// the fallback path third.
func (p *planner) promote(t *Trial) {
	w := &p.w
	first := []uint16{p.ensure(w.Current, "selector "+w.CurrentDigest[:12])}
	if t != nil && isOwn(t.Former) && !same(t.Former, w.Current) {
		if e := p.find(t.Former); e != nil {
			first = append(first, e.Number)
		}
	}
	first = append(first, p.ensure(w.Fallback, "fallback"))
	p.setOrder(append(first, without(p.order, first...)...))
	p.rec.Trial, p.rec.Default = nil, &Default{Digest: w.CurrentDigest, Boot: w.Boot}
	p.rec.Failed = slices.DeleteFunc(slices.Clone(p.rec.Failed), func(d string) bool { return d == w.CurrentDigest })
	p.save()
}

// settleDefault counts the boots from the default; due says that the fallback
// path is to become it as well: it was the default on an earlier boot, and is
// again.
func (p *planner) settleDefault() (due bool) {
	d, w := p.rec.Default, &p.w
	if d == nil || d.Boot == w.Boot || d.Digest != w.CurrentDigest || !p.intact() || len(p.order) == 0 {
		return false
	}
	if e := p.find(w.Current); e == nil || e.Number != p.order[0] {
		return false
	}
	if !d.Seen {
		p.rec.Default = &Default{d.Digest, w.Boot, true}
		p.save()
		return false
	}
	return w.FallbackDigest != d.Digest
}

// tryOnce orders one boot from the slot's selector, when that is due.
func (p *planner) tryOnce() Decision {
	w := &p.w
	file := Path(w.Want.Digest)
	switch s := p.state(); {
	case s == Failed:
		return p.end(s, fault.Errorf(fault.Refused, "selector %.12s did not come up when it was tried; --retry tries it again", w.Want.Digest))
	case s != Due:
		return p.end(s, nil)
	case same(w.Current, file): // it was damaged since it was started
		return p.end(Current, p.put(file, "", w.Want.Digest, w.Want.Size))
	case p.rec.Default != nil && p.rec.Default.Digest == w.Want.Digest && !p.opt.Retry:
		return p.end(Failed, fault.Errorf(fault.Refused,
			"selector %.12s is the default, but the firmware started %s; --retry tries it again", w.Want.Digest, w.Current))
	}
	t := p.rec.Trial
	if e := p.find(file); e != nil && t != nil && t.Digest == w.Want.Digest && t.Boot == w.Boot && slices.Equal(w.Next, []uint16{e.Number}) {
		if !t.Armed {
			p.arm(*t)
		}
		return p.end(Ordered, nil)
	}
	if w.WantedFile != w.Want.Digest {
		if err := p.put(file, "", w.Want.Digest, w.Want.Size); err != nil {
			return p.end(Due, err)
		}
	}
	next := Trial{Digest: w.Want.Digest, Boot: w.Boot, Orders: 1, Former: w.Current}
	if t != nil && t.Digest == next.Digest {
		next.Orders = t.Orders + 1
	}
	n := p.ensure(file, "selector "+w.Want.Digest[:12])
	p.rec.Trial = &next
	p.save()
	p.add(Step{Kind: SetNext, Order: []uint16{n}})
	p.arm(next)
	return p.end(Ordered, nil)
}

func (p *planner) arm(t Trial) {
	t.Armed = true
	p.rec.Trial = &t
	p.save()
}

// withoutVariables writes the new selector beside the old one, then, when it
// may, to the path that the firmware starts.
func (p *planner) withoutVariables() Decision {
	w := &p.w
	file := Path(w.Want.Digest)
	for _, f := range slices.Clone(w.Files) {
		if isOwn(f.Name) && w.Want.Digest != "" && !same(f.Name, file) {
			p.remove(f)
		}
	}
	p.cleanReplacement()
	if s := p.state(); s != Due {
		return p.end(s, nil)
	}
	if !p.opt.ReplaceFallback {
		return p.end(Due, fault.Errorf(fault.Refused, "the firmware keeps no variables, so that a new selector cannot be tried: %s is replaced with --without-variables only", path.Base(w.Fallback)))
	}
	cleaned := p.steps
	if w.WantedFile != w.Want.Digest {
		if err := p.put(file, "", w.Want.Digest, w.Want.Size); err != nil {
			return p.end(Due, err)
		}
	}
	if err := p.put(w.Fallback, file, w.Want.Digest, w.Want.Size); err != nil {
		p.steps = cleaned // not one without the other
		return p.end(Due, err)
	}
	return p.end(Current, nil)
}
