package paged_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/internal/paged"
)

func TestTable(t *testing.T) {
	var table paged.Table[[3]uint32]
	first := (*[3]uint32)(nil)
	for i := range uint32(10_000) {
		if got := table.Add([3]uint32{i, i + 1, i + 2}); got != i || table.Len() != i+1 {
			t.Fatalf("Add() = %d with %d values; want %d", got, table.Len(), i)
		}
		if i == 0 {
			first = table.At(0)
		}
	}
	first[2] = 99
	for i := range uint32(10_000) {
		want := [3]uint32{i, i + 1, i + 2}
		if i == 0 {
			want[2] = 99
		}
		if got := *table.At(i); got != want {
			t.Fatalf("At(%d) = %d; want %d", i, got, want)
		}
	}
	if got := table.Bytes(); got < 120_000 || got > 130_000 {
		t.Errorf("Bytes() = %d for 120000 bytes of values", got)
	}
}

// TestArena has lengths around those that get a page of their own.
func TestArena(t *testing.T) {
	var arena paged.Arena
	var want []string
	var refs []uint32
	total := 0
	for i := range 400 {
		for _, n := range []int{0, 1, i, 16<<10 - 1, 16 << 10, 64 << 10, 64<<10 + i} {
			if i%50 != 0 && n > 1<<10 {
				continue
			}
			s := strings.Repeat(string(rune('a'+i%26)), n)
			ref, ok := arena.Add(s)
			if !ok {
				t.Fatal("the arena is full")
			}
			want, refs, total = append(want, s), append(refs, ref), total+n
		}
	}
	for i, s := range want {
		if got := arena.Get(refs[i], len(s)); string(got) != s || cap(got) != len(got) {
			t.Fatalf("string %d of %d bytes comes back as %d bytes with room for %d", i, len(s), len(got), cap(got))
		}
	}
	if got := arena.Bytes(); got < int64(total) || got > int64(total)*3/2 {
		t.Errorf("Bytes() = %d for strings of %d", got, total)
	}
}

// TestArenaFull fills all pages: those of long strings may have any length.
func TestArenaFull(t *testing.T) {
	const pages = 100
	defer paged.SetMaxPages(pages)()
	var arena paged.Arena
	if _, ok := arena.Add("x"); !ok {
		t.Fatal("an empty arena is full")
	}
	long := strings.Repeat("y", 16<<10)
	for i := range pages - 1 {
		if _, ok := arena.Add(long); !ok {
			t.Fatalf("the arena is full with %d pages", i+1)
		}
	}
	if _, ok := arena.Add(long); ok {
		t.Error("a page more than there are numbers for")
	}
	if ref, ok := arena.Add("z"); !ok || string(arena.Get(ref, 1)) != "z" {
		t.Error("the page of short strings has no room")
	}
}

// TestIndex looks names up in a list, some with equal hashes.
func TestIndex(t *testing.T) {
	for name, hash := range map[string]func(s string) uint64{
		"spread": func(s string) uint64 {
			h := uint64(1)
			for _, c := range []byte(s) {
				h = (h ^ uint64(c)) * 0x9e3779b97f4a7c15
			}
			return h
		},
		"all the same": func(string) uint64 { return 1 << 63 },
		"at the end":   func(s string) uint64 { return ^uint64(len(s)) },
	} {
		t.Run(name, func(t *testing.T) {
			var index paged.Index
			var list []string
			find := func(s string) (paged.Slot, uint32, bool) {
				index.Grow(func(i uint32) uint64 { return hash(list[i]) })
				return index.Find(hash(s), func(i uint32) bool { return list[i] == s })
			}
			for i := range 1000 {
				s := fmt.Sprint(i)
				slot, _, ok := find(s)
				if ok {
					t.Fatalf("%s is there before it was added", s)
				}
				index.Set(slot, uint32(i))
				list = append(list, s)
			}
			for i := range 1000 {
				slot, got, ok := find(fmt.Sprint(i))
				if !ok || got != uint32(i) {
					t.Fatalf("Find(%d) = %d, %v", i, got, ok)
				}
				index.Set(slot, got) // in its place: no further one
			}
			if _, _, ok := find("none"); ok || index.Len() != 1000 {
				t.Errorf("an index of 1000 has %d, and finds what is not in it: %v", index.Len(), ok)
			}
			if got := index.Bytes(); got < 5000 || got > 11_000 {
				t.Errorf("Bytes() = %d for 1000", got)
			}
		})
	}
}
