package campaign_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/updater"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// A patient is a disk to be damaged, and what is known of it.
type patient struct {
	start
	t          *testing.T
	r          refs
	dev, older blockdev.Device
	all        []machine.Region
	known      map[string][32]byte // the image of each root hash on the disk
	usual      machine.Outcome
	healthy    *blockdevtest.Image // after its usual boot
	ends       map[string]int
	where      map[string]int // the ends by region
	tried      int
}

// TestDamage harms every part of the disk. What is harmed is corrected, or
// refused, or fallen back from, or was not in use: nothing else than one of the
// disk's systems comes up, whole, or recovery waits.
func TestDamage(t *testing.T) {
	r := builtRefs(t)
	r.update = maps.Clone(r.update)
	r.update["v2"] = signed(t, "v2")
	base := device(t, r)
	flips, others := 700, 320
	if *full {
		flips, others = 10_000, 8000
	}
	total := make(map[string]int)
	for i, s := range starts {
		t.Run(s.name, func(t *testing.T) {
			p := newPatient(t, s, r, base)
			rnd := rand.New(rand.NewPCG(uint64(i), 2))
			p.harm([]harm{flip}, flips/len(starts), rnd)
			flipped := p.tried
			p.harm(harms, others/len(starts), rnd)
			t.Logf("%d bits flipped, %d times other harm, in %d regions: %s", flipped, p.tried-flipped, len(p.all), summary(p.ends))
			if *full {
				t.Logf("by region: %s", summary(p.where))
			}
			if len(p.ends) < 4 {
				t.Error("damage has too few effects: nothing was shown")
			}
			total["bits flipped"] += flipped
			total["other harm"] += p.tried - flipped
			for what, n := range p.ends {
				total[what] += n
			}
		})
	}
	for _, never := range []string{"wrong content", "stranded"} {
		total[never] += 0 // to be listed
	}
	t.Logf("in all: %s", summary(total))
}

func newPatient(t *testing.T, s start, r refs, base blockdev.Device) *patient {
	t.Helper()
	older := blockdevtest.NewImage(base)
	order(t, older, apply(t, updater.ApplyOptions{Ref: r.update["v3"]}))
	dev := blockdevtest.NewImage(older)
	s.before(t, r, dev)
	all, err := machine.Regions(dev)
	if err != nil {
		t.Fatal(err)
	}
	p := &patient{
		start: s, t: t, r: r, dev: dev, older: older, all: all,
		known: make(map[string][32]byte), healthy: blockdevtest.NewImage(dev), ends: make(map[string]int), where: make(map[string]int),
	}
	layout := recoverytest.Open(t, dev)
	for _, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB, bootctl.SlotRecovery} {
		if c, sum, err := content(layout, slot); err == nil {
			p.known[c.Manifest.RootHash] = sum
		}
	}
	p.usual = p.boot(p.healthy)
	if p.usual.End != machine.Up || p.wrong(p.healthy, p.usual) != nil {
		t.Fatalf("without damage: %v", p.usual)
	}
	return p
}

// content is what a slot holds: the manifest, and the hash of the image.
func content(layout *partitions.Disk, slot bootctl.Slot) (*partitions.SlotContent, [32]byte, error) {
	var sum [32]byte
	sec, err := layout.Slot(slot)
	if err != nil {
		return nil, sum, err
	}
	c, err := partitions.ReadSlot(sec)
	if err != nil {
		return nil, sum, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(sec, 0, c.Footer.ImageBytes)); err != nil {
		return nil, sum, err
	}
	return c, [32]byte(h.Sum(nil)), nil
}

// boot starts a disk; a person is there at the first boot, if at all.
func (p *patient) boot(dev blockdev.Device) machine.Outcome {
	if p.keys != "" {
		if m := machine.BootOnce(dev, p.keys); m.Switched {
			mf := m.Content.Manifest
			return machine.Outcome{End: machine.Up, Slot: m.Slot, RootHash: mf.RootHash, Version: mf.Version, Boots: 1, Log: m.Messages}
		}
	}
	return machine.Start(dev)
}

// harm does kinds of harm n times in all, in each region as often as in another.
func (p *patient) harm(kinds []harm, n int, rnd *rand.Rand) {
	p.t.Helper()
	for i := range n {
		reg, h := p.all[i%len(p.all)], kinds[i/len(p.all)%len(kinds)]
		at := place{Region: reg, at: reg.Off + rnd.Int64N(reg.Len), older: p.older, rnd: rnd}
		p.tried++
		dev := h.do(p.t, blockdevtest.NewImage(p.dev), at)
		if _, bad := dev.(*blockdevtest.BadSector); !bad && p.same(dev, p.dev, at) {
			p.ends["was so before"]++ // a sector of zeros became one of zeros
			continue
		}
		end, err := p.judge(dev, at)
		if err != nil {
			p.t.Errorf("%s in %s at byte %d: %v", h.name, reg.Name, at.at, err)
		}
		p.ends[end]++
		p.where[reg.Name+": "+end]++
	}
}

// judge boots a damaged disk and says how it ended.
func (p *patient) judge(dev blockdev.Device, at place) (end string, err error) {
	o := p.boot(dev)
	switch {
	case o.End == machine.InRecovery:
		return "recovery waits", nil
	case o.End != machine.Up:
		return "stranded", fmt.Errorf("stranded: %v", o)
	}
	if err := p.wrong(dev, o); err != nil {
		return "wrong content", fmt.Errorf("%w: %v", err, o)
	}
	switch {
	case o.RootHash != p.usual.RootHash && strings.Contains(strings.Join(o.Log, "\n"), "(squashfs)"):
		end = "found by dm-verity, fell back"
	case o.RootHash != p.usual.RootHash:
		end = "refused, fell back"
	case p.same(dev, p.healthy, at):
		end = "corrected"
	default:
		end, err = p.unseen(dev, at)
	}
	if p.tried%goOnEvery == 0 && err == nil {
		err = p.goOn(dev, o)
	}
	return end, err
}

// goOn takes a damaged disk to the next update. On one that does not take it,
// the command says so.
func (p *patient) goOn(dev blockdev.Device, o machine.Outcome) error {
	err := goOn(p.t, p.r, dev, o)
	if bad, ok := dev.(*blockdevtest.BadSector); ok && bad.Stuck && errors.Is(err, syscall.EIO) && fault.KindOf(err) == fault.Other {
		p.ends["the next update said that the disk fails"]++
		return nil
	}
	if err != nil {
		return fmt.Errorf("%v, then %w", o, err)
	}
	p.ends["taken to the next update"]++
	return nil
}

// wrong says why what is up is none of the disk's systems, byte by byte.
func (p *patient) wrong(dev blockdev.Device, o machine.Outcome) error {
	layout, err := partitions.Open(dev)
	if err != nil {
		return err
	}
	_, got, err := content(layout, o.Slot)
	if err != nil {
		return err
	}
	if want, ok := p.known[o.RootHash]; !ok || got != want {
		return fmt.Errorf("the image that is up has hash %x; want one of %x", got, p.known)
	}
	return nil
}

// same says whether a place holds on one disk what it holds on another, and
// both can be read there.
func (p *patient) same(a, b blockdev.Device, at place) bool {
	var of [2][sectorSize]byte
	for i, dev := range []blockdev.Device{a, b} {
		if _, err := dev.ReadAt(of[i][:], at.sector()); err != nil {
			return false
		}
	}
	return of[0] == of[1]
}

// unseen tells damage that the next read of a slot will find from damage to
// what nothing uses.
func (p *patient) unseen(dev blockdev.Device, at place) (end string, err error) {
	sys, err := updater.New(dev, nil)
	if err != nil {
		return "unreadable", err
	}
	slots := []bootctl.Slot{bootctl.SlotA, bootctl.SlotB, bootctl.SlotRecovery}
	found, err := sys.Verify(p.t.Context(), slots, nil)
	if len(found) < len(slots) && err == nil {
		return "not looked at", fmt.Errorf("verify looked at %d slots", len(found))
	}
	for _, v := range found {
		if v.State == updater.Damaged {
			return "the usual system; refused when its slot is wanted", nil
		}
	}
	if err != nil { // a slot that cannot be read
		return "the usual system; refused when its slot is wanted", nil
	}
	state := ut.State(p.t, dev)
	switch same := sameOrder(state, ut.State(p.t, p.healthy)); {
	case !same && strings.HasPrefix(at.Name, "boot state"):
		return "the boot state before it counts", nil
	case !same:
		return "another state", fmt.Errorf("the usual system is up, and the boot state is %+v", state)
	}
	return "nothing uses it", nil
}

// summary lists how often each thing happened.
func summary(counts map[string]int) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, counts[what]))
	}
	return strings.Join(parts, "; ")
}
