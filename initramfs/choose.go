package initramfs

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/recovery"
)

// loadState loads the boot state, or makes it anew from the slots when both
// records are lost. A state that cannot be used is not an error: recovery
// says what is wrong with it.
func (b *boot) loadState() error {
	dev, err := b.layout.State()
	if err != nil {
		return err
	}
	b.store = bootctl.Open(dev)
	b.state, err = b.store.Load()
	if errors.Is(err, bootctl.ErrNoState) {
		b.sys.Log(true, err.Error()+"; rebuilding it from the slots")
		b.state = b.rebuild()
		if err := b.save(b.state); err != nil {
			b.readOnly = err.Error()
		}
		return nil
	}
	if err != nil {
		b.readOnly = err.Error()
	}
	return nil
}

// rebuild looks into both slots for what is whole: footer, manifest and hash
// tree up to the root hash. The data is dm-verity's business.
func (b *boot) rebuild() bootctl.State {
	var found []bootctl.Found
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		c, err := b.inspect(slot)
		if err != nil {
			b.sys.Log(true, fmt.Sprintf("slot %v: %v", slot, err))
			continue
		}
		found = append(found, bootctl.Found{Slot: slot, SlotInfo: recovery.Info(c), Created: c.Manifest.Created})
	}
	return bootctl.Rebuild(found...)
}

func (b *boot) inspect(slot bootctl.Slot) (*partitions.SlotContent, error) {
	dev, err := b.layout.Slot(slot)
	if err != nil {
		return nil, err
	}
	c, err := partitions.ReadSlot(dev)
	if err != nil {
		return nil, err
	}
	if _, err := c.Tree(dev); err != nil {
		return nil, err
	}
	return c, nil
}

// choose decides what boots and has saved it before it returns. In recovery
// it stays until a slot is to be booted. SlotNone means that the machine is
// going down.
func (b *boot) choose() (bootctl.Choice, error) {
	if choice, ok := b.pinned(); ok {
		return choice, nil
	}
	override := b.cmdline.Slot
	if act := b.bootMenu(); act.Act == recovery.BootSlot {
		override = act.Slot
	} else if act.Act == recovery.OpenRecovery {
		override = bootctl.SlotRecovery
	}
	for {
		choice, trouble := b.next(override)
		if choice.Slot.IsRoot() {
			return choice, nil
		}
		// What was ordered for this boot has had its effect.
		override = bootctl.SlotNone
		reason := choice.Reason
		if trouble != nil {
			reason = trouble.Error()
		}
		act := b.recover(reason)
		switch act.Act {
		case recovery.BootSlot:
			b.tried = bootctl.SlotNone
			return bootctl.Choice{Slot: act.Slot, Reason: "chosen in recovery"}, nil
		case recovery.DoReboot, recovery.DoPowerOff:
			b.goDown(act)
			return bootctl.Choice{}, nil
		}
	}
}

// next runs a pending factory reset, then takes the next choice and saves
// that it was taken. When it cannot be saved, no try of a pending slot is
// spent uncounted: a good slot boots, or recovery with what went wrong.
func (b *boot) next(override bootctl.Slot) (bootctl.Choice, error) {
	if b.readOnly != "" {
		return bootctl.Choice{Slot: bootctl.SlotRecovery}, errors.New(b.readOnly)
	}
	if b.state.Reset != bootctl.ResetNone {
		if err := b.finishReset(); err != nil {
			b.sys.Log(true, err.Error())
			return bootctl.Choice{Slot: bootctl.SlotRecovery}, err
		}
	}
	s := b.state
	if override != bootctl.SlotNone {
		s = s.SetOneShot(override)
	}
	choice, s := s.Next()
	if override != bootctl.SlotNone && choice.Slot != override {
		b.sys.Log(true, fmt.Sprintf("slot %v was ordered, but: %v", override, s.CheckBootable(override)))
	}
	if err := b.save(s); err != nil {
		b.sys.Log(true, err.Error())
		return b.uncounted(choice, err)
	}
	b.state = s
	if choice.Slot.IsRoot() {
		b.tried = choice.Slot
	}
	return choice, nil
}

// uncounted chooses when nothing can be saved: only a slot that is known to
// work may boot without being counted. If it fails all the same, recovery waits.
func (b *boot) uncounted(choice bootctl.Choice, err error) (bootctl.Choice, error) {
	for _, slot := range []bootctl.Slot{choice.Slot, choice.Slot.Other()} {
		if slot.IsRoot() && b.state.Slot(slot).Status == bootctl.Good {
			b.uncountable = true
			return bootctl.Choice{Slot: slot, Reason: "good; the boot state cannot be saved"}, nil
		}
	}
	b.readOnly = err.Error()
	return bootctl.Choice{Slot: bootctl.SlotRecovery}, err
}

func (b *boot) finishReset() error {
	b.sys.Log(true, "factory reset: making /var anew")
	var s bootctl.State
	var err error
	if dev, secErr := b.layout.Section(partitions.LabelVar); secErr == nil {
		s, err = recovery.FinishReset(b, dev, b.state, b.sys.Alive)
	} else {
		s, err = recovery.FinishReset(b, nil, b.state, b.sys.Alive)
	}
	b.state = s
	return err
}

// bootMenu asks for a slot when a key was pressed since PID 1 started, or
// within the window that is left. It costs nothing where nobody can type.
func (b *boot) bootMenu() recovery.Action {
	window := b.cmdline.Menu
	if window < 0 {
		window = keyWindow
	}
	if window == 0 || b.readOnly != "" {
		return recovery.Action{}
	}
	c := b.sys.Console()
	if !c.Interactive() {
		return recovery.Action{}
	}
	for end := b.start + window; ; {
		left := max(0, end-b.sys.Uptime())
		key, ok := c.ReadKey(left)
		if !ok {
			return recovery.Action{}
		}
		if key == 'm' || key == 'M' {
			return recovery.Ask(c, recovery.BootMenu(b.facts("")), menuIdle, b.sys.Alive)
		}
	}
}

// recover shows the recovery menu, and does what is chosen there. It returns
// when something is to be booted or the machine is to go down.
func (b *boot) recover(reason string) recovery.Action {
	b.sys.Log(true, "recovery: "+reason)
	runtime.GOMAXPROCS(runtime.NumCPU()) // for the hash tree of a restored image
	c := b.sys.Console()
	for {
		act := recovery.Ask(c, recovery.RecoveryMenu(b.facts(reason)), 0, b.sys.Alive)
		var err error
		s := b.state
		switch act.Act {
		case recovery.FactoryReset:
			if s = s.RequestReset(); b.state.Reset == bootctl.ResetNone {
				err = b.save(s)
			}
		case recovery.RestoreGolden:
			s, err = b.restore(c)
		case recovery.RetrySlot:
			if s, err = recovery.Retry(s, act.Slot); err == nil {
				err = b.save(s)
			}
		}
		if err == nil {
			b.state = s
			return act
		}
		b.sys.Log(true, err.Error())
		reason = err.Error()
		b.reload()
	}
}

// reload takes the state from the disk again after a step that failed halfway.
func (b *boot) reload() {
	if s, err := b.store.Load(); err == nil {
		b.state = s
	}
}

func (b *boot) restore(c recovery.Console) (bootctl.State, error) {
	shown := int64(-1)
	s, err := recovery.Restore(b, b.layout, b.state, func(done, total int64) {
		b.sys.Alive()
		if percent := done * 10 / total * 10; percent > shown {
			shown = percent
			fmt.Fprintf(c, "\rrestoring the golden image: %d %%", percent)
		}
	})
	fmt.Fprint(c, "\r\n")
	if err == nil {
		b.sys.Log(true, "slot a holds the golden image "+s.Slot(bootctl.SlotA).Version)
	}
	return s, err
}

func (b *boot) goDown(act recovery.Action) {
	how := recovery.Reboot
	if act.Act == recovery.DoPowerOff {
		how = recovery.PowerOff
	}
	b.sys.Log(true, "going down by order")
	b.sys.Restart(how)
}

// facts collects what a menu shows.
func (b *boot) facts(reason string) recovery.Facts {
	f := recovery.Facts{Reason: reason, ReadOnly: b.readOnly}
	for i, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		e := b.state.Slot(slot)
		f.Slots[i] = string(e.Status)
		if e.Version != "" {
			f.Slots[i] = e.Version + ", " + f.Slots[i]
		}
		if b.readOnly == "" {
			if err := b.state.CheckBootable(slot); err != nil {
				f.NoSlot[i] = err.Error()
			}
			continue
		}
		// Without a state, what is in the slot decides.
		f.Slots[i] = ""
		if c, err := b.inspect(slot); err != nil {
			f.NoSlot[i] = err.Error()
		} else {
			f.Slots[i] = c.Manifest.Version
		}
	}
	if c, err := recovery.Golden(b.layout); err != nil {
		f.NoGolden = err.Error()
	} else {
		f.Golden = c.Manifest.Version
	}
	if _, ok := b.layout.Partition(partitions.LabelVar); !ok {
		f.NoVar = "this disk has no var partition"
	}
	return f
}
