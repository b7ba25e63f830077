package updater_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/trust/keys"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

// besideImage is a layout with the shared images, to put updates into.
func besideImage(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "layout")
	if err := os.CopyFS(dir, os.DirFS(images(t))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// variant packs an update again, changed, into the same layout.
func variant(t *testing.T, dir, from, tag string, change func(*manifest.Manifest, *oci.Update)) (digest string) {
	t.Helper()
	img := resolved(t, "oci:"+dir+":"+from)
	raw, err := img.UpdateConfig()
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	work := t.TempDir()
	subject := resolved(t, "oci:"+dir+":v2").Descriptor()
	u := oci.Update{Annotations: img.Annotations(), Architecture: m.Architecture, Subject: &subject}
	for mediaType, file := range map[string]*oci.UpdateFile{manifest.SquashfsMediaType: &u.Squashfs, manifest.TreeMediaType: &u.Tree} {
		rc, _, err := img.Blob(t.Context(), mediaType)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(rc)
		if err != nil {
			t.Fatal(err)
		}
		rc.Close()
		file.Path = filepath.Join(work, filepath.Base(mediaType))
		writeFile(t, file.Path, b)
	}
	change(m, &u)
	if u.Config == nil {
		if u.Config, err = m.Encode(); err != nil {
			t.Fatal(err)
		}
	}
	if digest, err = oci.WriteUpdate(t.Context(), dir, tag, u); err != nil {
		t.Fatal(err)
	}
	return digest
}

func applyBeside(t *testing.T, ref string, opt updater.ApplyOptions) (*updater.Applied, bootctl.State, error) {
	t.Helper()
	path := ut.Disk(t, "oci:"+images(t)+":v1")
	opt.Ref = ref
	got, err := open(t, path).Apply(t.Context(), opt)
	return got, state(t, path), err
}

// TestApplyTakesThePrebuilt finds an update beside the image that it was made
// of, in a layout and in registries with and without the API for it.
func TestApplyTakesThePrebuilt(t *testing.T) {
	dir := besideImage(t)
	built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + dir + ":v2", Dir: dir, Tag: "update"})
	if err != nil {
		t.Fatal(err)
	}
	refs := []string{"oci:" + dir + ":v2"}
	for _, api := range []bool{true, false} {
		srv := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(api)))
		t.Cleanup(srv.Close)
		repo := strings.TrimPrefix(srv.URL, "http://") + "/os"
		if _, err := oci.Push(t.Context(), reference(t, "oci:"+dir+":v2"), reference(t, repo+":v2"), oci.Options{}); err != nil {
			t.Fatal(err)
		}
		if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: repo + ":v2", Push: repo + ":v2-update"}); err != nil {
			t.Fatal(err)
		}
		refs = append(refs, "docker://"+repo+":v2")
	}
	for _, ref := range refs {
		got, st, err := applyBeside(t, ref, updater.ApplyOptions{})
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if !got.Update || got.UpdateOf != built.SourceDigest || got.Image != ref || got.Digest == got.UpdateOf {
			t.Errorf("%s: Apply() = %+v; want the update of %s", ref, got, built.SourceDigest)
		}
		if slot := st.Slot(bootctl.SlotB); slot.Image != ref || slot.Digest != got.Digest || slot.RootHash != built.RootHash {
			t.Errorf("%s: slot b is %+v", ref, slot)
		}
		got, st, err = applyBeside(t, ref, updater.ApplyOptions{Flatten: true})
		if err != nil || got.Update || got.UpdateOf != "" || got.Digest != built.SourceDigest || st.Slot(bootctl.SlotB).Digest != built.SourceDigest {
			t.Errorf("%s, to be flattened: Apply() = %+v, %v", ref, got, err)
		}
	}
}

func TestApplyOfThePrebuiltAgain(t *testing.T) {
	dir := besideImage(t)
	if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + dir + ":v2", Dir: dir, Tag: "update"}); err != nil {
		t.Fatal(err)
	}
	path := ut.Disk(t, "oci:"+images(t)+":v1")
	sys := open(t, path)
	for _, want := range []fault.Kind{0, fault.Nothing} {
		_, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + dir + ":v2"})
		if kind := fault.KindOf(err); kind != want {
			t.Errorf("Apply() = %v; want kind %d", err, want)
		}
	}
}

// TestPrebuiltIsForThisDevice has several updates beside an image.
func TestPrebuiltIsForThisDevice(t *testing.T) {
	dir := besideImage(t)
	built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + dir + ":v2", Dir: dir, Tag: "plain"})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what, want string) {
		t.Helper()
		got, _, err := applyBeside(t, "oci:"+dir+":v2", updater.ApplyOptions{DryRun: true})
		if err != nil || got.Digest != want {
			t.Errorf("%s: Apply() = %+v, %v; want %s", what, got, err, want)
		}
	}
	check("one", built.Digest)
	created := func(at string) func(*manifest.Manifest, *oci.Update) {
		return func(m *manifest.Manifest, u *oci.Update) {
			m.Created = at
			u.Annotations["org.opencontainers.image.created"] = at
		}
	}
	later := variant(t, dir, "plain", "later", created("2031-01-01T00:00:00Z"))
	check("a later one", later)
	variant(t, dir, "plain", "between", created("2030-12-31T23:59:59Z"))
	check("one between", later)
	variant(t, dir, "plain", "east", created("2031-01-01T01:00:00+02:00"))
	check("one whose clock is ahead", later)
	variant(t, dir, "plain", "arm64", func(m *manifest.Manifest, u *oci.Update) {
		created("2032-01-01T00:00:00Z")(m, u)
		m.Architecture = "arm64"
	})
	check("one for another architecture", later)
	variant(t, dir, "plain", "other", func(m *manifest.Manifest, u *oci.Update) {
		created("2032-01-01T00:00:00Z")(m, u)
		m.SourceDigest = "sha256:" + strings.Repeat("a", 64)
	})
	check("one that is of another image", later)
	twin := variant(t, dir, "plain", "twin", func(m *manifest.Manifest, u *oci.Update) {
		created("2031-01-01T00:00:00Z")(m, u)
		m.Title = "twin"
	})
	check("two at the same time", max(later, twin))
	variant(t, dir, "plain", "bad", func(m *manifest.Manifest, u *oci.Update) {
		created("2033-01-01T00:00:00Z")(m, u)
		u.Config = []byte(`{"format":99,"architecture":"amd64"}`)
	})
	_, _, err = applyBeside(t, "oci:"+dir+":v2", updater.ApplyOptions{DryRun: true})
	if fault.KindOf(err) != fault.Verify || !strings.Contains(err.Error(), dir+"@sha256:") {
		t.Errorf("a bad one: error %v", err)
	}
}

// TestPrebuiltIsCompatible passes over an update for other devices.
func TestPrebuiltIsCompatible(t *testing.T) {
	dir := besideImage(t)
	if _, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + dir + ":v2", Dir: dir, Tag: "plain"}); err != nil {
		t.Fatal(err)
	}
	mine := variant(t, dir, "plain", "mine", func(m *manifest.Manifest, u *oci.Update) { m.Compatible, m.Version = "board1", "4.0" })
	for _, name := range []string{"board0", "board2"} {
		variant(t, dir, "plain", name, func(m *manifest.Manifest, _ *oci.Update) { m.Compatible, m.Version = name, "4.0" })
	}
	path := ut.Disk(t, "oci:"+images(t)+":compatible")
	got, err := open(t, path).Apply(t.Context(), updater.ApplyOptions{Ref: "oci:" + dir + ":v2", DryRun: true})
	if err != nil || got.Digest != mine {
		t.Errorf("Apply() = %+v, %v; want %s", got, err, mine)
	}
}

// TestPrebuiltNotKnown does not flatten an image, which may be dear, when the
// registry cannot say whether it has an update.
func TestPrebuiltNotKnown(t *testing.T) {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	ref := strings.TrimPrefix(srv.URL, "http://") + "/os:v2"
	if _, err := oci.Push(t.Context(), reference(t, "oci:"+images(t)+":v2"), reference(t, ref), oci.Options{}); err != nil {
		t.Fatal(err)
	}
	_, st, err := applyBeside(t, ref, updater.ApplyOptions{})
	if fault.KindOf(err) != fault.Network || !strings.Contains(err.Error(), "looking for referrers") || st.Slot(bootctl.SlotB).Status != bootctl.Empty {
		t.Errorf("Apply() = %v, slot b %v", err, st.Slot(bootctl.SlotB).Status)
	}
	if _, _, err := applyBeside(t, ref, updater.ApplyOptions{Flatten: true}); err != nil {
		t.Errorf("to be flattened: %v", err)
	}
}

// TestPrebuiltOfADigest takes what an image pinned by digest did not name only
// from those whose key is trusted.
func TestPrebuiltOfADigest(t *testing.T) {
	dir, key := besideImage(t), newKey(t, keys.P256)
	ref := "oci:" + dir + "@" + resolved(t, "oci:"+dir+":v2").Digest()
	opt := updater.BuildOptions{Ref: "oci:" + dir + ":v2", Dir: dir, Tag: "update", SignKeys: []*keys.Private{key}}
	if _, err := updater.Build(t.Context(), opt); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name       string
		dirs       []string
		signedOnly bool
		update     bool
	}{
		{"no key", nil, false, false},
		{"a key of the system", []string{trustDir(t, key)}, false, true},
		{"a key of the initramfs", nil, true, true},
	} {
		sys := bootedOpen(t, runningDisk(t), bootctl.Booted{SignedOnly: tt.signedOnly}, tt.dirs...)
		got, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref, DryRun: true})
		if err != nil || got.Update != tt.update {
			t.Errorf("%s: Apply() = %+v, %v; want an update: %v", tt.name, got, err, tt.update)
		}
	}
}

// TestPrebuiltIsSigned has updates beside an image that anybody could have
// pushed: the last one that a trusted key has signed is taken.
func TestPrebuiltIsSigned(t *testing.T) {
	key, stranger := newKey(t, keys.P256), newKey(t, keys.P256)
	trusting, signedOnly := []string{trustDir(t, key)}, bootctl.Booted{SignedOnly: true}
	for _, tt := range []struct {
		name   string
		dirs   []string
		booted bootctl.Booted
		later  []string      // beside a good one, each later than the one before
		add    *keys.Private // signs the last of them
		passed int           // how many are told of
		none   bool          // the good one is not signed
		want   string        // in the error then, or "the last" for that
	}{
		{name: "a later one is unsigned", dirs: trusting, later: []string{"unsigned"}, passed: 1},
		{name: "a later one has another signature", dirs: trusting, later: []string{"unsigned"}, add: stranger, passed: 1},
		{name: "a later one cannot be read", dirs: trusting, later: []string{"bad"}, passed: 1},
		{name: "several later ones", dirs: trusting, later: []string{"unsigned", "bad", "unsigned2"}, passed: 3},
		{name: "a later one is good", dirs: trusting, later: []string{"unsigned", "unsigned2"}, add: key, want: "the last"},
		{name: "an unsigned one for another device", dirs: trusting, later: []string{"arm64"}},
		{name: "the initramfs has keys", booted: signedOnly, later: []string{"unsigned"}, passed: 1},
		{name: "none is signed", dirs: trusting, later: []string{"unsigned", "unsigned2"}, none: true, passed: 2, want: "unsigned: no valid signature"},
		{name: "none is signed, the last cannot be read", dirs: trusting, later: []string{"unsigned", "bad"}, none: true, passed: 2, want: "invalid update manifest"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := besideImage(t)
			opt := updater.BuildOptions{Ref: "oci:" + dir + ":v2", Dir: dir, Tag: "good", SignKeys: []*keys.Private{key}}
			if tt.none {
				opt.SignKeys = nil
			}
			built, err := updater.Build(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			want := built.Digest
			for i, name := range tt.later {
				digest := variant(t, dir, "good", name, func(m *manifest.Manifest, u *oci.Update) {
					m.Created = fmt.Sprintf("20%d-01-01T00:00:00Z", 31+i)
					u.Annotations["org.opencontainers.image.created"] = m.Created
					switch name {
					case "bad":
						u.Config = []byte(`{"format":99,"architecture":"amd64"}`)
					case "arm64":
						m.Architecture = name
					}
				})
				if i == len(tt.later)-1 && tt.add != nil {
					if _, err := updater.Sign(t.Context(), "oci:"+dir+":"+name, []*keys.Private{tt.add}, oci.Options{}); err != nil {
						t.Fatal(err)
					}
				}
				if tt.want == "the last" {
					want = digest
				}
			}
			var notes []string
			got, err := bootedOpen(t, runningDisk(t), tt.booted, tt.dirs...).Apply(t.Context(), updater.ApplyOptions{
				Ref: opt.Ref, DryRun: true, Progress: func(e updater.Event) {
					if strings.Contains(e.Note, "is passed over") {
						notes = append(notes, e.Note)
					}
				},
			})
			if len(notes) != tt.passed {
				t.Errorf("told of %q; want %d passed over", notes, tt.passed)
			}
			if tt.none {
				if fault.KindOf(err) != fault.Verify || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Apply() = %v; want kind %d and %q", err, fault.Verify, tt.want)
				}
			} else if err != nil || got.Digest != want {
				t.Errorf("Apply() = %+v, %v; want %s", got, err, want)
			}
		})
	}
}
