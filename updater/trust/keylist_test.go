package trust_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

func publicPEM(t *testing.T, k *keys.Private) []byte {
	t.Helper()
	text, err := k.PublicPEM()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func keyList(t *testing.T, by *keys.Private, of ...*keys.Private) trust.KeyList {
	t.Helper()
	var pem []byte
	for _, k := range of {
		pem = append(pem, publicPEM(t, k)...)
	}
	l, err := by.SignList(pem)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestKeyLists(t *testing.T) {
	old, second, third, stranger := newKey(t, keys.P256), newKey(t, keys.Ed25519), newKey(t, keys.P256), newKey(t, keys.P256)
	first := trust.Set{old.Public()}
	for _, tt := range []struct {
		name  string
		lists []trust.KeyList
		want  []*keys.Private
	}{
		{"none", nil, []*keys.Private{old}},
		{"one", []trust.KeyList{keyList(t, old, second)}, []*keys.Private{old, second}},
		{"one of two keys", []trust.KeyList{keyList(t, old, second, third)}, []*keys.Private{old, second, third}},
		{"a chain", []trust.KeyList{keyList(t, old, second), keyList(t, second, third)}, []*keys.Private{old, second, third}},
		{"a chain, last first", []trust.KeyList{keyList(t, second, third), keyList(t, old, second)}, []*keys.Private{old, second, third}},
		{"a chain with a gap", []trust.KeyList{keyList(t, second, third)}, []*keys.Private{old}},
		{"by a stranger", []trust.KeyList{keyList(t, stranger, stranger)}, []*keys.Private{old}},
		{"no JSON", []trust.KeyList{[]byte("x")}, []*keys.Private{old}},
		{"changed", []trust.KeyList{bytes.Replace(keyList(t, old, second), []byte(`"payload":"L`), []byte(`"payload":"M`), 1)}, []*keys.Private{old}},
		// The same key may sign other things in DSSE.
		{"another type of payload", []trust.KeyList{bytes.Replace(keyList(t, old, second), []byte("vnd.abupdate.keys"), []byte("vnd.in-toto"), 1)}, []*keys.Private{old}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got, want []string
			for _, k := range first.With(tt.lists) {
				got = append(got, k.ID)
			}
			for _, k := range tt.want {
				want = append(want, k.Public().ID)
			}
			if !slices.Equal(got, want) {
				t.Errorf("With() = %v; want %v", got, want)
			}
		})
	}
	if len(first) != 1 {
		t.Errorf("With() changed the set: %v", first)
	}
	if _, err := old.SignList([]byte("no keys")); err == nil {
		t.Error("SignList() of no keys = nil; want an error")
	}
}

// An update signed by the new key, for a device that has the old one.
func TestRotation(t *testing.T) {
	old, next := newKey(t, keys.P256), newKey(t, keys.P256)
	manifest, envelope := signed(t, next)
	device := trust.Set{old.Public()}
	if _, err := device.VerifyManifest(envelope, manifest); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("before the rotation: %v; want %v", err, trust.ErrUntrusted)
	}
	envelope.KeyLists = []trust.KeyList{keyList(t, old, next)}
	b, err := envelope.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if envelope, err = trust.DecodeEnvelope(b); err != nil {
		t.Fatal(err)
	}
	k, err := device.VerifyManifest(envelope, manifest)
	if err != nil || k.ID != next.Public().ID || !strings.Contains(k.String(), "key list by") {
		t.Errorf("VerifyManifest() = %v, %v; want %v by way of a key list", k, err, next.Public())
	}
	stranger := trust.Set{newKey(t, keys.P256).Public()}
	if _, err := stranger.VerifyManifest(envelope, manifest); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("on another device: %v; want %v", err, trust.ErrUntrusted)
	}
}

func TestRead(t *testing.T) {
	old, next := newKey(t, keys.P256), newKey(t, keys.Ed25519)
	dir := t.TempDir()
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("both/old.pub", publicPEM(t, old))
	write("both/next.keys", keyList(t, old, next))
	write("both/README", []byte("not for us"))
	write("list/next.keys", keyList(t, old, next))
	write("empty/README", nil)
	write("bad/x.pub", []byte("no key"))
	write("unsuffixed", publicPEM(t, next))
	for _, tt := range []struct {
		name  string
		paths []string
		keys  int
		lists int
		want  string // part of the error
	}{
		{"a folder with a list", []string{"both"}, 2, 1, ""},
		{"a file of any name", []string{"unsuffixed"}, 1, 0, ""},
		{"twice", []string{"both", "both/old.pub"}, 2, 1, ""},
		{"a file and a list elsewhere", []string{"both/old.pub", "list"}, 0, 0, "list: no public key"},
		{"a list alone", []string{"list/next.keys"}, 0, 0, "is a key list"},
		{"no key in a folder", []string{"empty"}, 0, 0, "no public key"},
		{"no such path", []string{"nope"}, 0, 0, "nope"},
		{"a broken file", []string{"both", "bad"}, 0, 0, "x.pub"},
	} {
		var paths []string
		for _, p := range tt.paths {
			paths = append(paths, filepath.Join(dir, p))
		}
		set, lists, err := trust.Read(paths...)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: Read() = %v; want an error with %q", tt.name, err, tt.want)
			}
			continue
		}
		if err != nil || len(set) != tt.keys || len(lists) != tt.lists {
			t.Errorf("%s: Read() = %v, %d lists, %v; want %d keys, %d lists", tt.name, set, len(lists), err, tt.keys, tt.lists)
		}
	}
	if set, _, err := trust.ReadDirs(filepath.Join(dir, "nope")); err != nil || len(set) != 0 {
		t.Errorf("ReadDirs() of a missing folder = %v, %v; want none", set, err)
	}
	if _, _, err := trust.ReadDirs(filepath.Join(dir, "both"), filepath.Join(dir, "bad")); err == nil {
		t.Error("ReadDirs() with a broken file = nil: trust would be off")
	}
}

func FuzzKeyList(f *testing.F) {
	k, err := keys.Generate(keys.P256)
	if err != nil {
		f.Fatal(err)
	}
	pem, err := k.PublicPEM()
	if err != nil {
		f.Fatal(err)
	}
	list, err := k.SignList(pem)
	if err != nil {
		f.Fatal(err)
	}
	other, err := keys.Generate(keys.P256)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(list))
	f.Add([]byte(`{"payload":"","payloadType":"application/vnd.abupdate.keys.v1+pem","signatures":[{"sig":""}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := (trust.Set{other.Public()}).With([]trust.KeyList{b, b}); len(got) != 1 {
			t.Errorf("With(%q) = %v: nobody has signed that", b, got)
		}
	})
}
