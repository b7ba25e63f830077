package bootctl

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// PartitionSize is the size of the partition that holds the boot state: two
// records, half of it apart, so that no erase block or RAID chunk of a usual
// size holds both.
const PartitionSize = 1 << 20

var recordOffs = [2]int64{0, PartitionSize / 2}

// ErrNoState is wrapped by Load's error when neither record is valid.
var ErrNoState = errors.New("no valid boot state")

// A Store keeps a State on a device, in two records. A save overwrites the
// older one, so the newer one is whole whenever the power goes.
type Store struct {
	dev blockdev.Device
}

// Open returns the Store on the state partition. It reads nothing yet.
func Open(dev blockdev.Device) *Store { return &Store{dev} }

// record is one of the two records as it was read.
type record struct {
	state      State
	generation uint64
	err        error // wraps ErrCorrupt or ErrNewer, or is the device's
}

func (st *Store) read() (rec [2]record) {
	for i, off := range recordOffs {
		b := make([]byte, RecordSize)
		// The page cache may hold what a failed sync never brought to the medium.
		err := blockdev.Invalidate(st.dev, off, RecordSize)
		if err == nil {
			_, err = st.dev.ReadAt(b, off)
		}
		if err != nil { // it may be the newer one, and the next read succeed
			_, err = st.dev.ReadAt(b, off)
		}
		if err != nil {
			rec[i].err = fmt.Errorf("reading boot state record %d at byte %d: %w", i, off, err)
			continue
		}
		rec[i].state, rec[i].generation, err = decodeRecord(b)
		if err != nil {
			rec[i].err = fmt.Errorf("boot state record %d at byte %d: %w", i, off, err)
		}
	}
	return rec
}

// newest returns the index of the valid record with the higher generation,
// or -1.
func newest(rec [2]record) int {
	n := -1
	for i, r := range rec {
		if r.err == nil && (n < 0 || r.generation > rec[n].generation) {
			n = i
		}
	}
	return n
}

// Load returns the newest valid state. Its error wraps ErrNoState when both
// records are invalid, which is when the state is to be rebuilt; a device
// that cannot be read is another error. It wraps ErrNewer when a record is of
// a later format: the State is then the newest that this program can read, if
// any, and must not be saved.
func (st *Store) Load() (State, error) { return loaded(st.read()) }

// LoadToChange is Load for a program that acts on the state: what it was told
// is on the medium, and is the newest there is. What a killed program wrote and
// never synced reads as the newest record, and an order may find that it was
// done before: so that is synced. A record that cannot be read may be the newer
// one: that is an error, where Load goes on with the other.
func (st *Store) LoadToChange() (State, error) {
	if err := st.dev.Sync(); err != nil {
		return New(), fmt.Errorf("loading boot state: syncing what was there: %w", err)
	}
	rec := st.read()
	for _, r := range rec {
		if r.err != nil && !errors.Is(r.err, ErrCorrupt) && !errors.Is(r.err, ErrNewer) {
			return New(), fmt.Errorf("loading boot state: %w", r.err)
		}
	}
	return loaded(rec)
}

func loaded(rec [2]record) (State, error) {
	n := newest(rec)
	s := New()
	if n >= 0 {
		s = rec[n].state
	}
	both := errors.Join(rec[0].err, rec[1].err)
	switch {
	case errors.Is(both, ErrNewer):
		return s, fmt.Errorf("loading boot state: %w", both)
	case n >= 0:
		return s, nil
	case errors.Is(rec[0].err, ErrCorrupt) && errors.Is(rec[1].err, ErrCorrupt):
		return s, fmt.Errorf("%w: %w", ErrNoState, both)
	}
	return s, fmt.Errorf("loading boot state: %w", both)
}

// Save writes the state and returns when it is on the medium. After an error
// the next Load may give the old or the new state.
func (st *Store) Save(s State) error {
	// What a killed process wrote and never synced reads as the newest record
	// now. It must be on the medium before the other one is overwritten.
	if err := st.dev.Sync(); err != nil {
		return fmt.Errorf("saving boot state: syncing what was there: %w", err)
	}
	rec := st.read()
	if err := errors.Join(rec[0].err, rec[1].err); errors.Is(err, ErrNewer) {
		return fmt.Errorf("saving boot state: %w", err)
	}
	n := newest(rec)
	if n >= 0 {
		return st.write(1-n, s, rec[n].generation+1)
	}
	for _, r := range rec {
		if !errors.Is(r.err, ErrCorrupt) {
			// A record that cannot be read now may be newer than the first
			// generation, and be read later.
			return fmt.Errorf("saving boot state: %w", r.err)
		}
	}
	return st.write(0, s, 1)
}

func (st *Store) write(i int, s State, generation uint64) error {
	b, err := encodeRecord(s, generation)
	if err != nil {
		return err
	}
	off := recordOffs[i]
	if _, err := st.dev.WriteAt(b, off); err != nil {
		return fmt.Errorf("writing boot state record %d at byte %d: %w", i, off, err)
	}
	if err := st.dev.Sync(); err != nil {
		return fmt.Errorf("syncing boot state record %d at byte %d: %w", i, off, err)
	}
	if err := blockdev.Invalidate(st.dev, off, RecordSize); err != nil {
		return fmt.Errorf("reading back boot state record %d: %w", i, err)
	}
	got := make([]byte, RecordSize)
	if _, err := st.dev.ReadAt(got, off); err != nil {
		return fmt.Errorf("reading back boot state record %d at byte %d: %w", i, off, err)
	}
	if !bytes.Equal(got, b) {
		return fmt.Errorf("reading back boot state record %d at byte %d: %w: not what was written", i, off, ErrCorrupt)
	}
	return nil
}

// Format writes both records of a fresh state partition. What was there
// before does not count, even when a power cut comes in between.
func Format(dev blockdev.Device, s State) error {
	if dev.Size() < PartitionSize {
		return fmt.Errorf("formatting boot state: %d bytes; want at least %d", dev.Size(), PartitionSize)
	}
	for _, off := range recordOffs {
		if err := blockdev.Zero(dev, off, RecordSize); err != nil {
			return fmt.Errorf("formatting boot state: %w", err)
		}
	}
	if err := dev.Sync(); err != nil {
		return fmt.Errorf("formatting boot state: %w", err)
	}
	st := Open(dev)
	for i := range recordOffs {
		if err := st.write(i, s, uint64(i+1)); err != nil {
			return err
		}
	}
	return nil
}
