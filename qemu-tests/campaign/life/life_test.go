package life_test

import (
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/qemu-tests/campaign/life"
	"github.com/abupdate/abupdate/qemu-tests/campaign/machine"
)

// A fake is a device that takes every update, and comes up as it is told.
type fake struct {
	state    bootctl.State
	n        int
	end      func(life.Step) life.End
	boot     func(n int, s bootctl.State) []machine.Outcome
	restored bool
}

func up(version string) machine.Outcome {
	return machine.Outcome{End: machine.Up, RootHash: version, Version: version}
}

func (f *fake) Do(s life.Step) (life.End, error) {
	end := f.end(s)
	if end == life.Done && strings.HasPrefix(string(s.Kind), "apply") {
		f.state = f.state.Stage(bootctl.SlotB, bootctl.SlotInfo{Version: s.Image, RootHash: s.Image})
	}
	return end, nil
}

func (f *fake) State() (bootctl.State, error) { return f.state, nil }

func (f *fake) Boot() ([]machine.Outcome, error) {
	f.n++
	return f.boot(f.n-1, f.state), nil
}

func (f *fake) Confirm() (life.End, error) { return life.Refused, nil }

func (f *fake) Restore() (machine.Outcome, error) {
	f.restored = true
	return up("golden"), nil
}

// The model notices what may not be.
func TestLive(t *testing.T) {
	good := bootctl.New().Install(bootctl.SlotA, bootctl.SlotInfo{Version: "old", RootHash: "old"})
	done := func(life.Step) life.End { return life.Done }
	cut := func(life.Step) life.End { return life.Cut }
	// new is what a device does that works: what is pending comes up, else the old.
	works := func(_ int, s bootctl.State) []machine.Outcome {
		if b := s.Slot(bootctl.SlotB); b.Status == bootctl.Pending {
			return []machine.Outcome{up(b.RootHash)}
		}
		return []machine.Outcome{up("old")}
	}
	for _, tt := range []struct {
		name  string
		state bootctl.State
		end   func(life.Step) life.End
		boot  func(n int, s bootctl.State) []machine.Outcome
		want  string // the error; "" for none
	}{
		{"works", good, done, works, ""},
		{"every command is cut", good, cut, works, ""},
		{"another system", good, cut, func(n int, _ bootctl.State) []machine.Outcome {
			return []machine.Outcome{up([]string{"old", "strange"}[min(n, 1)])}
		}, "nobody ever confirmed it"},
		{"another one on the way", good, cut, func(n int, _ bootctl.State) []machine.Outcome {
			return [][]machine.Outcome{{up("old")}, {up("strange"), up("old")}}[min(n, 1)]
		}, "nobody ever confirmed it"},
		{"what was applied does not come", good, done, func(int, bootctl.State) []machine.Outcome {
			return []machine.Outcome{up("old")}
		}, "another system was applied"},
		{"stranded", good, cut, func(n int, _ bootctl.State) []machine.Outcome {
			return []machine.Outcome{{End: []machine.Ending{machine.Up, machine.Stranded}[min(n, 1)], RootHash: "old"}}
		}, "neither"},
		{"recovery with a good slot", good, cut, func(n int, _ bootctl.State) []machine.Outcome {
			return []machine.Outcome{{End: []machine.Ending{machine.Up, machine.InRecovery}[min(n, 1)], RootHash: "old"}}
		}, "recovery waits"},
		{"recovery without one", bootctl.New(), cut, func(n int, _ bootctl.State) []machine.Outcome {
			return []machine.Outcome{{End: []machine.Ending{machine.Up, machine.InRecovery}[min(n, 1)], RootHash: "old"}}
		}, ""},
		{"a broken system stays", good, done, works, "stays up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{state: tt.state, end: tt.end, boot: tt.boot}
			broken := func(string) bool { return false }
			if tt.name == "a broken system stays" {
				broken = func(v string) bool { return v == "bad" }
			}
			did, err := life.Live(f, life.Images{Good: []string{"new"}, Broken: []string{"bad"}}, broken, 1, 40)
			if got := ""; err != nil {
				got = err.Error()
				if tt.want == "" || !strings.Contains(got, tt.want) || !strings.Contains(got, "seed 1, step ") {
					t.Errorf("error %q; want %q and what it takes to see it again", got, tt.want)
				}
			} else if tt.want != "" {
				t.Errorf("no error after %s; want %q", life.Summary(did), tt.want)
			}
			if want := tt.name == "recovery without one"; f.restored != want {
				t.Errorf("the golden image was restored: %v; want %v", f.restored, want)
			}
		})
	}
}

// The same seed is the same life.
func TestLiveAgain(t *testing.T) {
	lived := func(seed uint64) (steps []string) {
		f := &fake{state: bootctl.New().Install(bootctl.SlotA, bootctl.SlotInfo{RootHash: "old"})}
		f.end = func(s life.Step) life.End { steps = append(steps, s.String()); return life.Cut }
		f.boot = func(int, bootctl.State) []machine.Outcome { return []machine.Outcome{up("old")} }
		if _, err := life.Live(f, life.Images{Good: []string{"a", "b"}, Broken: []string{"c"}}, func(string) bool { return false }, seed, 50); err != nil {
			t.Fatal(err)
		}
		return steps
	}
	first := strings.Join(lived(5), "\n")
	if again := strings.Join(lived(5), "\n"); again != first {
		t.Errorf("seed 5 gives\n%s\nand then\n%s", first, again)
	}
	if strings.Join(lived(6), "\n") == first {
		t.Error("seeds 5 and 6 give the same")
	}
}
