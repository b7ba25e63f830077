package blockdevtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
)

const sector = 512

// newRecorder returns a Recorder over n sectors of '.'.
func newRecorder(n int) *blockdevtest.Recorder {
	return blockdevtest.NewRecorder(blockdev.NewMemory(bytes.Repeat([]byte{'.'}, n*sector)))
}

// write fills sectors with a letter.
func write(t *testing.T, d blockdev.Device, at, n int, letter byte) {
	t.Helper()
	if _, err := d.WriteAt(bytes.Repeat([]byte{letter}, n*sector), int64(at*sector)); err != nil {
		t.Fatal(err)
	}
}

// show reads an image as one letter for each sector, which must be whole.
func show(t *testing.T, d blockdev.Device) string {
	t.Helper()
	b := make([]byte, d.Size())
	if _, err := d.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	var letters []byte
	for s := range slices.Chunk(b, sector) {
		if !bytes.Equal(s, bytes.Repeat(s[:1], sector)) {
			t.Fatalf("sector %d is torn", len(letters))
		}
		letters = append(letters, s[0])
	}
	return string(letters)
}

// images returns what Crashes gives, sorted, and fails on a duplicate.
func images(t *testing.T, r *blockdevtest.Recorder) []string {
	t.Helper()
	var all []string
	for img, cut := range r.Crashes() {
		s := show(t, img)
		if slices.Contains(all, s) {
			t.Errorf("image %s (cut %v) came twice", s, cut)
		}
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

func TestCrashes(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, r *blockdevtest.Recorder)
		want []string
	}{
		{"nothing happened", func(t *testing.T, r *blockdevtest.Recorder) {}, []string{"...."}},
		{"only syncs", func(t *testing.T, r *blockdevtest.Recorder) { r.Sync(); r.Sync() }, []string{"...."}},
		{"one sector, synced", func(t *testing.T, r *blockdevtest.Recorder) {
			write(t, r, 1, 1, 'a')
			r.Sync()
		}, []string{"....", ".a.."}},
		{"one sector, never synced", func(t *testing.T, r *blockdevtest.Recorder) {
			write(t, r, 1, 1, 'a')
		}, []string{"....", ".a.."}},
		{"two writes in any order", func(t *testing.T, r *blockdevtest.Recorder) {
			write(t, r, 0, 1, 'a')
			write(t, r, 3, 1, 'b')
			r.Sync()
		}, []string{"....", "...b", "a...", "a..b"}},
		{"a sync keeps the order", func(t *testing.T, r *blockdevtest.Recorder) {
			write(t, r, 0, 1, 'a')
			r.Sync()
			write(t, r, 3, 1, 'b')
		}, []string{"....", "a...", "a..b"}},
		{"a write is torn at every sector, from both ends", func(t *testing.T, r *blockdevtest.Recorder) {
			write(t, r, 0, 4, 'a')
			r.Sync()
		}, []string{"....", "...a", "..aa", ".aaa", "a...", "aa..", "aaa.", "aaaa"}},
		{"only the last one is torn", func(t *testing.T, r *blockdevtest.Recorder) {
			write(t, r, 0, 2, 'a')
			write(t, r, 2, 2, 'b')
			r.Sync()
		}, []string{
			"....", ".a..", "a...", "aa..", // a
			"...b", "..b.", "..bb", // b without a
			"aa.b", "aab.", "aabb", // b with a
		}},
		{"zeros are a write", func(t *testing.T, r *blockdevtest.Recorder) {
			if err := r.Zero(sector, 2*sector); err != nil {
				t.Error(err)
			}
		}, []string{"....", "..\x00.", ".\x00..", ".\x00\x00."}},
		{"the same sector written three times", func(t *testing.T, r *blockdevtest.Recorder) {
			write(t, r, 0, 1, 'a')
			r.Sync()
			write(t, r, 0, 1, 'b')
			r.Sync()
			write(t, r, 0, 1, 'c')
			r.Sync()
		}, []string{"....", "a...", "b...", "c..."}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecorder(4)
			tt.run(t, r)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, images(t, r)); diff != "" {
				t.Errorf("images (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCrashesOfManyWrites(t *testing.T) {
	const n = blockdevtest.MaxSubset + 3
	r := newRecorder(n)
	for i := range n {
		write(t, r, i, 1, 'a'+byte(i))
	}
	r.Sync()
	got := make(map[string]bool)
	for img := range r.Crashes() {
		got[show(t, img)] = true
	}
	full := "abcdefghi"
	none := "........."
	var want []string
	for i := range n {
		want = append(want, full[:i]+none[i:])               // prefix
		want = append(want, none[:i]+full[i:i+1]+none[i+1:]) // alone
		want = append(want, full[:i]+none[i:i+1]+full[i+1:]) // missing
	}
	want = append(want, full)
	slices.Sort(want) // the first alone is a prefix, all but the last is one too
	for _, w := range slices.Compact(want) {
		if !got[w] {
			t.Errorf("image %s never came", w)
		}
		delete(got, w)
	}
	for g := range got {
		t.Errorf("image %s came; the documentation does not say so", g)
	}
}

func TestCrashesIf(t *testing.T) {
	r := newRecorder(2)
	write(t, r, 0, 1, 'a')
	r.Sync()
	r.Mark("a is there")
	write(t, r, 1, 1, 'b')
	var asked, got []string
	for img, cut := range r.CrashesIf(func(c blockdevtest.Cut) bool {
		asked = append(asked, c.String())
		return c.Reached("a is there") && len(c.Present) > 0
	}) {
		got = append(got, show(t, img)+" "+cut.String())
	}
	all := 0
	for range r.Crashes() {
		all++
	}
	if diff := cmp.Diff([]string{"ab after 2 ops (a is there) with unsynced [2]"}, got); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if len(asked) != all {
		t.Errorf("asked for %d cuts %q; want all %d", len(asked), asked, all)
	}
}

func TestCrashesTearsLargeWritesNearTheEnds(t *testing.T) {
	const n = 1000
	r := newRecorder(n)
	write(t, r, 0, n, 'a')
	r.Sync()
	first := make(map[int]bool)
	count := 0
	for img := range r.Crashes() {
		count++
		if s := show(t, img); s[0] == 'a' {
			first[bytes.Count([]byte(s), []byte("a"))] = true
		}
	}
	for _, k := range []int{1, 2, n - 1, n} {
		if !first[k] {
			t.Errorf("no image with the first %d sectors", k)
		}
	}
	if want := 2 + 2*blockdevtest.MaxTears; count > want {
		t.Errorf("%d images; want at most %d", count, want)
	}
}

// Of what was not synced any sectors may be there; everything synced is, and
// nothing comes that was never written. The same seed gives the same.
func TestCrashesWithin(t *testing.T) {
	r := newRecorder(60)
	write(t, r, 0, 4, 'a')
	r.Sync()
	r.Mark("a is there")
	write(t, r, 1, 40, 'b')
	write(t, r, 20, 40, 'c')
	r.Sync()
	for _, tt := range []struct {
		name   string
		bounds blockdevtest.Bounds
		least  int
	}{
		{"all tears", blockdevtest.Bounds{Tears: 1000}, 120},
		{"chance", blockdevtest.Bounds{Chance: 500}, 250},
		{"another seed", blockdevtest.Bounds{Chance: 500, Seed: 2}, 250},
	} {
		t.Run(tt.name, func(t *testing.T) {
			usual := make(map[string]bool)
			for img := range r.Crashes() {
				usual[show(t, img)] = true
			}
			var order [2][]string
			distinct := make(map[string]bool)
			for i := range order {
				for img, cut := range r.CrashesWithin(tt.bounds) {
					s := show(t, img)
					order[i] = append(order[i], s)
					if !usual[s] {
						distinct[s] = true
					}
					for j, c := range s {
						could := ".a"
						if cut.Reached("a is there") {
							could = "aaaa...."[min(j, 4) : min(j, 4)+1]
							if j >= 1 && j < 41 {
								could += "b"
							}
							if j >= 20 {
								could += "c"
							}
						}
						if !strings.ContainsRune(could, c) {
							t.Fatalf("cut %v: %s: sector %d is %c; want one of %s", cut, s, j, c, could)
						}
					}
				}
			}
			if diff := cmp.Diff(order[0], order[1]); diff != "" {
				t.Errorf("the same bounds give other images (-first +second):\n%s", diff)
			}
			if len(distinct) < tt.least {
				t.Errorf("%d images that Crashes does not give; want %d", len(distinct), tt.least)
			}
		})
	}
}

func TestCutReached(t *testing.T) {
	r := newRecorder(4)
	r.Mark("begun")
	write(t, r, 0, 1, 'a')
	r.Sync()
	r.Mark("a saved")
	write(t, r, 1, 1, 'b')
	r.Mark("b written")
	r.Sync()
	got := make(map[string]string)
	for img, cut := range r.Crashes() {
		for _, m := range []string{"begun", "a saved", "b written"} {
			if cut.Reached(m) {
				got[show(t, img)] += m + "; "
			}
		}
	}
	want := map[string]string{
		"....": "begun; ",
		"a...": "begun; a saved; b written; ", // b may be written and yet be lost
		"ab..": "begun; a saved; b written; ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("marks reached (-want +got):\n%s", diff)
	}
}

func TestImagesAreIndependent(t *testing.T) {
	r := newRecorder(4)
	write(t, r, 0, 2, 'a')
	r.Sync()
	write(t, r, 2, 2, 'b')
	var plain, scribbled []string
	for img := range r.Crashes() {
		plain = append(plain, show(t, img))
	}
	for img := range r.Crashes() {
		scribbled = append(scribbled, show(t, img))
		write(t, img, 0, 4, 'x') // what goes on from there must not show in the next one
	}
	if diff := cmp.Diff(plain, scribbled); diff != "" {
		t.Errorf("images after writing to earlier ones (-want +got):\n%s", diff)
	}
	for range r.Crashes() {
		break // must not go on
	}
	if got, want := show(t, r), "aabb"; got != want {
		t.Errorf("recorder reads as %s; want %s", got, want)
	}
	if w, s := r.Writes(), r.Syncs(); w != 2 || s != 1 {
		t.Errorf("Writes() = %d, Syncs() = %d; want 2, 1", w, s)
	}
}

// A store that syncs too little must be found out: this is what Crashes is for.
func TestCrashesFindMissingSync(t *testing.T) {
	for _, sync := range []bool{true, false} {
		r := newRecorder(8)
		write(t, r, 4, 2, 'd') // the data
		if sync {
			r.Sync()
		}
		write(t, r, 0, 1, 'c') // the commit
		r.Sync()
		var broken []string
		for img, cut := range r.Crashes() {
			if s := show(t, img); s[0] == 'c' && s[4:6] != "dd" {
				broken = append(broken, fmt.Sprint(cut))
			}
		}
		if got := len(broken) == 0; got != sync {
			t.Errorf("sync between data and commit %v: broken images at %v", sync, broken)
		}
	}
}

func TestInject(t *testing.T) {
	newDevice := func(f blockdevtest.Faults) (*blockdevtest.Injector, *blockdev.Memory) {
		m := blockdev.NewMemory(bytes.Repeat([]byte{'.'}, 4*sector))
		return blockdevtest.Inject(m, f), m
	}
	t.Run("second write is short", func(t *testing.T) {
		d, m := newDevice(blockdevtest.Faults{Write: 2, WriteErr: syscall.ENOSPC, Short: sector})
		write(t, d, 0, 1, 'a')
		n, err := d.WriteAt(bytes.Repeat([]byte{'b'}, 2*sector), sector)
		if n != sector || !errors.Is(err, syscall.ENOSPC) || !d.Hit() {
			t.Errorf("second WriteAt = %d, %v, Hit() = %v; want %d, ENOSPC, true", n, err, d.Hit(), sector)
		}
		write(t, d, 3, 1, 'c')
		if got, want := show(t, m), "ab.c"; got != want {
			t.Errorf("device holds %s; want %s", got, want)
		}
	})
	t.Run("every write from the first on", func(t *testing.T) {
		d, m := newDevice(blockdevtest.Faults{Write: 1, Onwards: true})
		for range 3 {
			if _, err := d.WriteAt([]byte{1}, 0); !errors.Is(err, syscall.EIO) {
				t.Errorf("WriteAt = %v; want EIO", err)
			}
		}
		if got, want := show(t, m), "...."; got != want {
			t.Errorf("device holds %s; want %s", got, want)
		}
	})
	t.Run("first sync and second read", func(t *testing.T) {
		d, _ := newDevice(blockdevtest.Faults{Sync: 1, Read: 2, ReadErr: syscall.ENXIO})
		if err := d.Sync(); !errors.Is(err, syscall.EIO) {
			t.Errorf("first Sync() = %v; want EIO", err)
		}
		if err := d.Sync(); err != nil {
			t.Errorf("second Sync() = %v; want nil", err)
		}
		var errs []error
		for range 3 {
			_, err := d.ReadAt(make([]byte, 1), 0)
			errs = append(errs, err)
		}
		if errs[0] != nil || errs[1] != syscall.ENXIO || errs[2] != nil {
			t.Errorf("ReadAt thrice = %v; want ENXIO for the second", errs)
		}
	})
	t.Run("reads that lie", func(t *testing.T) {
		d, _ := newDevice(blockdevtest.Faults{OnRead: func(n int, p []byte, off int64) { p[0] ^= 0xff }})
		p := make([]byte, 1)
		if _, err := d.ReadAt(p, 0); err != nil || p[0] != '.'^0xff || d.Hit() {
			t.Errorf("ReadAt = %q, %v, Hit() = %v; want the flipped byte, nil, false", p, err, d.Hit())
		}
	})
}
