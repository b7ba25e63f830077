package campaign_test

import (
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/abupdate/abupdate/internal/blockdev"
)

var errPower = errors.New("power")

// A supply is a disk whose power goes after some operations: of what was not
// synced then, a part is on the disk, the last of it torn.
type supply struct {
	blockdev.Device
	rnd     *rand.Rand
	left    int // operations until the power goes; negative: it stays
	dead    bool
	pending []written
}

type written struct {
	off int64
	p   []byte
}

func (s *supply) spend() bool {
	if s.left == 0 && !s.dead {
		s.dead = true
		for _, w := range s.pending {
			if s.rnd.IntN(2) == 0 {
				continue
			}
			sectors := len(w.p) / 512
			if sectors > 1 && s.rnd.IntN(3) == 0 {
				w.p = w.p[:512*s.rnd.IntN(sectors)]
			}
			if _, err := s.Device.WriteAt(w.p, w.off); err != nil {
				panic(err)
			}
		}
	}
	s.left--
	return !s.dead
}

func (s *supply) WriteAt(p []byte, off int64) (int, error) {
	if !s.spend() {
		return 0, errPower
	}
	s.pending = append(s.pending, written{off, slices.Clone(p)})
	return len(p), nil
}

func (s *supply) Sync() error {
	if !s.spend() {
		return errPower
	}
	for _, w := range s.pending {
		if _, err := s.Device.WriteAt(w.p, w.off); err != nil {
			return err
		}
	}
	s.pending = nil
	return nil
}

func (s *supply) ReadAt(p []byte, off int64) (int, error) {
	if s.dead {
		return 0, errPower
	}
	n, err := s.Device.ReadAt(p, off)
	for _, w := range s.pending {
		from, to := max(off, w.off), min(off+int64(n), w.off+int64(len(w.p)))
		if from < to {
			copy(p[from-off:to-off], w.p[from-w.off:])
		}
	}
	return n, err
}

// settle ends a command: the power stays, and what was written goes on to be
// there at the next boot.
func (s *supply) settle() error {
	s.left = -1
	return s.Sync()
}
