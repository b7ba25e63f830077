package campaign_test

import (
	"slices"
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
)

// A forgetful device says that it synced, and did not, between its n-th write
// and the next.
type forgetful struct {
	blockdev.Device
	n, writes int
}

func (f *forgetful) WriteAt(p []byte, off int64) (int, error) {
	f.writes++
	return f.Device.WriteAt(p, off)
}

func (f *forgetful) Sync() error {
	if f.writes == f.n {
		return nil
	}
	return f.Device.Sync()
}

// The campaign notices when a sync is left out. Those that it does not miss are
// those before the footer: nothing looks into a slot that is being written.
func TestCampaignFindsMissingSync(t *testing.T) {
	r := builtRefs(t)
	base := device(t, r)
	const being, footer, last = 1, -2, -1 // that is written; negative: from the end
	for _, tt := range []struct {
		name  string
		after []int // writes
	}{
		{"apply an update over an older system", []int{being, footer, last}},
		{"apply an image over an older system", []int{being, footer, last}},
		{"apply --switch", []int{last}},
		{"apply --cancel", []int{being}},
		{"mark-good", []int{last}},
		{"mark-bad", []int{last}},
		{"rollback", []int{last}},
		{"factory-reset", []int{last}},
		{"restore of the golden image", []int{being, footer - 1}}, // the boot after it writes, too
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := scenarios[slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == tt.name })]
			writes := s.record(t, r, base, nil).rec.Writes()
			for _, n := range tt.after {
				if n < 0 {
					n += writes + 1
				}
				e := s.record(t, r, base, func(dev blockdev.Device) blockdev.Device { return &forgetful{Device: dev, n: n} })
				e.try(density{})
				t.Logf("after write %d of %d: %d violations; the first: %s", n, writes, e.violations, e.first)
				if e.violations == 0 {
					t.Errorf("no sync after write %d of %d, and nobody noticed", n, writes)
				}
			}
		})
	}
}
