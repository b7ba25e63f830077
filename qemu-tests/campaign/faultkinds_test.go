package campaign_test

import (
	"syscall"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/internal/fault"
)

// A trouble is a way in which a disk fails at its n-th operation.
type trouble struct {
	name   string
	faults func(n int) blockdevtest.Faults
	err    syscall.Errno // what errors say
	kind   fault.Kind
	// stays says that it fails from then on, dead that nothing can be read.
	stays, dead bool
	// over says where the page cache is, if there is one, which outlives the
	// command: over what fails, or under it.
	over, under bool
	// loses says that what was not synced yet never comes to the medium.
	loses bool
}

type faults = blockdevtest.Faults

var troubles = []trouble{
	{name: "a write fails", err: syscall.EIO, kind: fault.Other,
		faults: func(n int) faults { return faults{Write: n} }},
	{name: "a write is short, for want of room", err: syscall.ENOSPC, kind: fault.NoRoom,
		faults: func(n int) faults { return faults{Write: n, WriteErr: syscall.ENOSPC, Short: 1536} }},
	{name: "a write is done, and reported as failed", err: syscall.EIO, kind: fault.Other,
		faults: func(n int) faults { return faults{Write: n, Short: 1 << 30} }},
	{name: "a read fails", err: syscall.EIO, kind: fault.Other,
		faults: func(n int) faults { return faults{Read: n} }},
	{name: "a sync fails", err: syscall.EIO, kind: fault.Other,
		faults: func(n int) faults { return faults{Sync: n} }},
	{name: "a write fails behind the page cache", err: syscall.EIO, kind: fault.Other, over: true,
		faults: func(n int) faults { return faults{Write: n} }},
	{name: "a sync fails and loses what it should have written", err: syscall.EIO, kind: fault.Other, under: true, loses: true,
		faults: func(n int) faults { return faults{Sync: n} }},
	{name: "the program is killed", err: syscall.ECANCELED, kind: fault.Other, under: true,
		faults: func(n int) faults { return faults{Any: n, AnyErr: syscall.ECANCELED, Onwards: true} }},
	{name: "writes fail from there on", err: syscall.EIO, kind: fault.Other, stays: true,
		faults: func(n int) faults { return faults{Write: n, Onwards: true} }},
	{name: "syncs fail from there on", err: syscall.EIO, kind: fault.Other, stays: true,
		faults: func(n int) faults { return faults{Sync: n, Onwards: true} }},
	{name: "the disk turns read-only", err: syscall.EROFS, kind: fault.Other, stays: true,
		faults: func(n int) faults { return faults{Write: n, WriteErr: syscall.EROFS, Onwards: true} }},
	{name: "reads fail from there on", err: syscall.EIO, kind: fault.Other, stays: true, dead: true,
		faults: func(n int) faults { return faults{Read: n, Onwards: true} }},
	{name: "the disk is gone", err: syscall.ENXIO, kind: fault.Other, stays: true, dead: true,
		faults: func(n int) faults { return faults{Any: n, AnyErr: syscall.ENXIO, Onwards: true} }},
}

// A rig is a disk with a trouble.
type rig struct {
	medium *blockdevtest.Image
	faulty *blockdevtest.Injector
	dev    blockdev.Device // what the command gets
	next   blockdev.Device // what the next command gets, in the same boot
}

func (tr trouble) rig(base blockdev.Device, n int) rig {
	r := rig{medium: blockdevtest.NewImage(base)}
	f := tr.faults(n)
	switch {
	case tr.under:
		cache := blockdevtest.NewPageCache(r.medium)
		if tr.loses {
			f.OnHit = cache.Lose
		}
		r.faulty = blockdevtest.Inject(cache, f)
		r.dev, r.next = r.faulty, cache
	case tr.over:
		r.faulty = blockdevtest.Inject(r.medium, f)
		r.dev = blockdevtest.NewPageCache(r.faulty)
		r.next = r.dev
	default:
		r.faulty = blockdevtest.Inject(r.medium, f)
		r.dev, r.next = r.faulty, r.medium
	}
	return r
}
