package squashfs

import "testing"

func TestFamily(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"usr/lib/modules/6.1/kernel/fs/a.ko", "usr/lib/modules/6.1/kernel/drivers/net/b.ko", true},
		{"usr/lib/modules/6.1/kernel/fs/a.ko", "usr/lib/modules/6.2/kernel/fs/a.ko", false},
		{"usr/lib/python3/dist-packages/apt/a.py", "usr/lib/python3/dist-packages/yaml/a.py", false},
		{"usr/bin/a", "usr/bin/b", false},
		{"usr/share/doc/a/copyright", "usr/share/doc/a/changelog.gz", false},
	} {
		a, b := familyOf(tt.a), familyOf(tt.b)
		if same := a != noFamily && a == b; same != tt.same {
			t.Errorf("%s and %s: one family %v; want %v", tt.a, tt.b, same, tt.same)
		}
	}
}

func TestPads(t *testing.T) {
	const kernel, python = 1, 2
	type unit struct {
		pos    int64
		family uint64
		want   bool
	}
	for _, tt := range []struct {
		name  string
		units []unit
	}{
		{"no family", []unit{{4097, noFamily, true}, {9000, noFamily, true}}},
		{"one family", []unit{{4097, kernel, true}, {9000, kernel, false}, {50_000, kernel, false}}},
		{"two families", []unit{{4097, kernel, true}, {9000, python, true}, {13_000, python, false}}},
		{"another between", []unit{{4097, kernel, true}, {9000, noFamily, true}, {13_000, kernel, true}}},
		// From 8192 on, 128 times the padding of 100 and of 2000 bytes.
		{"cheap padding", []unit{{4097, kernel, true}, {8192 + 3*4096 - 100, kernel, false}, {8192 + 4*4096 - 100, kernel, true}}},
		{"dear padding", []unit{{4097, kernel, true}, {8192 + 61*4096 + 2096, kernel, false}, {8192 + 63*4096 + 2096, kernel, true}}},
		{"aligned as it is", []unit{{4097, kernel, true}, {16_384, kernel, true}}},
	} {
		var p padder
		for i, u := range tt.units {
			if got := p.pads(u.pos, u.family); got != u.want {
				t.Errorf("%s: unit %d at %d: padded %v; want %v", tt.name, i, u.pos, got, u.want)
			}
		}
	}
}

func TestCutPoint(t *testing.T) {
	const a, b = 10, 11 // folders
	for _, tt := range []struct {
		name    string
		members []member // of 10 bytes each
		next    uint64
		want    int
	}{
		{"the smallest hash", []member{{hash: 5, folder: a}, {hash: 1 << 60, folder: a}, {hash: 3 << 50, folder: a}, {hash: 9 << 60, folder: a}}, a, 3},
		{"not below the least fill", []member{{hash: 0, folder: a}, {hash: 9 << 50, folder: a}, {hash: 8 << 50, folder: a}, {hash: 7 << 50, folder: a}}, a, 4},
		{"the end of a folder", []member{{hash: 9, folder: a}, {hash: 9 << 55, folder: a}, {hash: 1 << 50, folder: b}, {hash: 2 << 50, folder: b}}, b, 2},
		{"the last is the end of one", []member{{hash: 9, folder: a}, {hash: 1, folder: a}, {hash: 1, folder: a}, {hash: 9 << 55, folder: a}}, b, 4},
		{"one member", []member{{hash: 9, folder: a}}, a, 1},
	} {
		for i := range tt.members {
			tt.members[i].end = 10 * (i + 1)
		}
		g := group{members: tt.members}
		if got := g.cutPoint(20, tt.next); got != tt.want {
			t.Errorf("%s: cut after %d members; want %d", tt.name, got, tt.want)
		}
	}
}
