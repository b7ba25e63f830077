package updater_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/oci"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/updater/trust/keys"
	ut "github.com/abupdate/abupdate/updater/updatertest"
)

func newKey(t *testing.T, a keys.Algorithm) *keys.Private {
	t.Helper()
	k, err := keys.Generate(a)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// trustDir makes a folder with the public halves of keys.
func trustDir(t *testing.T, trusted ...*keys.Private) string {
	t.Helper()
	dir := t.TempDir()
	for _, k := range trusted {
		text, err := k.PublicPEM()
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, k.Public().ID[:8]+".pub"), text)
	}
	return dir
}

func writeFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// signedUpdate builds an image and signs the update.
func signedUpdate(t *testing.T, tag string, with ...*keys.Private) string {
	t.Helper()
	built, err := updater.Build(t.Context(), updater.BuildOptions{
		Ref: "oci:" + images(t) + ":" + tag, Dir: filepath.Join(t.TempDir(), "updates"), Tag: tag, SignKeys: with,
	})
	if err != nil {
		t.Fatal(err)
	}
	return "oci:" + built.Dir + ":" + tag
}

// content is what a slot of a disk image file says of itself.
func content(t *testing.T, path string, slot bootctl.Slot) *partitions.SlotContent {
	t.Helper()
	c, err := partitions.ReadSlot(ut.Slot(t, ut.OpenDisk(t, path), slot))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func fileSum(t *testing.T, path string) [32]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// applyTrusting applies with the keys of a folder.
func applyTrusting(t *testing.T, path, ref string, trusted ...string) (*updater.Applied, error) {
	t.Helper()
	return applying(t, path, updater.ApplyOptions{Ref: ref}, trusted...)
}

func applying(t *testing.T, path string, opt updater.ApplyOptions, trusted ...string) (*updater.Applied, error) {
	t.Helper()
	sys, err := updater.Open(updater.OpenOptions{Disk: path, Access: updater.Change, Trust: trusted})
	if err != nil {
		t.Fatal(err)
	}
	defer sys.Close()
	return sys.Apply(t.Context(), opt)
}

func TestApplyChecksSignatures(t *testing.T) {
	key, second, stranger := newKey(t, keys.P256), newKey(t, keys.Ed25519), newKey(t, keys.P256)
	signed, twice, unsigned := signedUpdate(t, "v2", key), signedUpdate(t, "v2", stranger, second), signedUpdate(t, "v2")
	old := newKey(t, keys.P256)
	rotated := trustDir(t, old)
	text, err := key.PublicPEM()
	if err != nil {
		t.Fatal(err)
	}
	list, err := old.SignList(text)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(rotated, "next.keys"), list)
	broken := trustDir(t, key)
	writeFile(t, filepath.Join(broken, "x.pub"), []byte("no key"))
	for _, tt := range []struct {
		name, ref string
		trusted   string
		by        *keys.Private // nil: refused, or nobody asks
		want      string        // part of the error
		kind      fault.Kind
	}{
		{"no keys, unsigned", unsigned, "", nil, "", 0},
		{"no keys, signed", signed, "", nil, "", 0},
		{"signed", signed, trustDir(t, key), key, "", 0},
		{"one of two keys is trusted, one of two has signed", twice, trustDir(t, key, second), second, "", 0},
		{"a key that a list brings", signed, rotated, key, "", 0},
		{"archive", archive(t, signed), trustDir(t, key), key, "", 0},
		{"unsigned", unsigned, trustDir(t, key), nil, "unsigned", fault.Verify},
		{"signed by another key", signed, trustDir(t, stranger), nil, "no valid signature by any of", fault.Verify},
		{"signatures of another update", mixed(t, signedUpdate(t, "twice"), signed), trustDir(t, key), nil, "has signed", fault.Verify},
		{"a flipped signature", flipped(t, signed), trustDir(t, key), nil, "has digest", fault.Verify},
		{"an ordinary image", "oci:" + images(t) + ":v2", trustDir(t, key), nil, "unsigned", fault.Verify},
		{"a key that cannot be read", signed, broken, nil, "x.pub", fault.Usage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := ut.Disk(t, "oci:"+images(t)+":v1")
			before := fileSum(t, path)
			var trusted []string
			if tt.trusted != "" {
				trusted = []string{tt.trusted}
			}
			got, err := applyTrusting(t, path, tt.ref, trusted...)
			if tt.want != "" {
				if fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("Apply() = %v; want kind %d and %q", err, tt.kind, tt.want)
				}
				if fileSum(t, path) != before {
					t.Error("the disk changed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.by != nil && !strings.Contains(got.SignedBy, tt.by.Public().ID[:16]) || tt.by == nil && got.SignedBy != "" {
				t.Errorf("signed by %q; want %v", got.SignedBy, tt.by)
			}
			c := content(t, path, bootctl.SlotB)
			if (len(c.Signatures) == 0) != (tt.ref == unsigned) {
				t.Errorf("the slot has %d bytes of signatures", len(c.Signatures))
			}
			if tt.by == nil {
				return
			}
			// As the initramfs does, which has no lists.
			e, err := trust.DecodeEnvelope(c.Signatures)
			if err != nil {
				t.Fatal(err)
			}
			root := trust.Set{tt.by.Public()}
			if tt.trusted == rotated {
				root = trust.Set{old.Public()}
			}
			if k, err := root.VerifyManifest(e, c.ManifestRaw); err != nil || k.ID != tt.by.Public().ID {
				t.Errorf("what is in the slot is signed by %v, %v; want %v", k, err, tt.by.Public())
			}
		})
	}
}

// archive packs a layout.
func archive(t *testing.T, ref string) string {
	t.Helper()
	dir, tag, _ := strings.Cut(strings.TrimPrefix(ref, "oci:"), ":")
	name := filepath.Join(t.TempDir(), "update.tar")
	if out, err := exec.Command("tar", "-C", dir, "-cf", name, ".").CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return "oci-archive:" + name + ":" + tag
}

// mixed puts the signatures of one update beside another.
func mixed(t *testing.T, ref, from string) string {
	t.Helper()
	to, other := resolved(t, ref), resolved(t, from)
	have, err := other.Signatures(t.Context())
	if err != nil || len(have) == 0 {
		t.Fatalf("Signatures() = %d, %v; want some", len(have), err)
	}
	err = oci.AddSignatures(t.Context(), to.Reference(), to.Digest(), oci.Options{}, func([]oci.Signature) ([]oci.Signature, error) { return have, nil })
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func resolved(t *testing.T, name string) *oci.Image {
	t.Helper()
	ref, err := oci.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	img, err := oci.Resolve(t.Context(), ref, oci.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

// flipped copies a layout and changes a byte in the payload of a signature.
func flipped(t *testing.T, ref string) string {
	t.Helper()
	dir, tag, _ := strings.Cut(strings.TrimPrefix(ref, "oci:"), ":")
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	sigs, err := resolved(t, ref).Signatures(t.Context())
	if err != nil || len(sigs) != 1 {
		t.Fatalf("Signatures() = %d, %v; want 1", len(sigs), err)
	}
	payload := bytes.Clone(sigs[0].Payload)
	blobs := filepath.Join(to, "blobs/sha256")
	entries, err := os.ReadDir(blobs)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(blobs, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(b, payload) {
			b[len(b)/2] ^= 1
			writeFile(t, filepath.Join(blobs, e.Name()), b)
		}
	}
	return "oci:" + to + ":" + tag
}

// An ordinary image: the signature on its digest counts, and the slot that is
// made of it has none.
func TestApplySignedImage(t *testing.T) {
	key := newKey(t, keys.P256)
	dir := ut.Layout(t, map[string]ut.Image{"v2": {Version: "2.0"}})
	ref := "oci:" + dir + ":v2"
	digest, err := updater.Sign(t.Context(), ref, []*keys.Private{key}, oci.Options{})
	if err != nil || digest != resolved(t, ref).Digest() {
		t.Fatalf("Sign() = %s, %v", digest, err)
	}
	path := ut.Disk(t, "oci:"+images(t)+":v1")
	if _, err := applyTrusting(t, path, ref, trustDir(t, newKey(t, keys.P256))); fault.KindOf(err) != fault.Verify {
		t.Errorf("Apply() with another key = %v; want kind %d", err, fault.Verify)
	}
	got, err := applyTrusting(t, path, ref, trustDir(t, key))
	if err != nil || !strings.Contains(got.SignedBy, key.Public().ID[:16]) {
		t.Errorf("Apply() = %+v, %v; want it signed by %v", got, err, key.Public())
	}
	if c := content(t, path, bootctl.SlotB); len(c.Signatures) != 0 {
		t.Errorf("the slot has signatures: %q", c.Signatures)
	}
}

// bootedOpen opens a disk as the one that this machine runs from.
func bootedOpen(t *testing.T, path string, booted bootctl.Booted, dirs ...string) *updater.System {
	t.Helper()
	dir := t.TempDir()
	booted.Slot, booted.Disk, booted.Kernel = bootctl.SlotA, path, ut.Kernel
	if err := booted.Write(filepath.Join(dir, "boot.json")); err != nil {
		t.Fatal(err)
	}
	sys, err := updater.Open(updater.OpenOptions{
		Access: updater.Change, BootedPath: filepath.Join(dir, "boot.json"), LockPath: filepath.Join(dir, "lock"),
		SpoolDir: filepath.Join(dir, "spool"), TrustDirs: append(dirs, filepath.Join(dir, "missing")),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.Close() })
	return sys
}

// runningDisk is a disk whose slot A was booted and confirmed.
func runningDisk(t *testing.T) string {
	t.Helper()
	path := ut.Disk(t, "oci:"+images(t)+":v1")
	ut.EditState(t, path, func(s bootctl.State) bootctl.State { _, s = s.Next(); s.LastBoot.Confirmed = true; return s })
	return path
}

func TestApplyOnTheRunningSystem(t *testing.T) {
	key := newKey(t, keys.P256)
	signed, unsigned := signedUpdate(t, "v2", key), signedUpdate(t, "v2")
	for _, tt := range []struct {
		name, ref  string
		signedOnly bool
		dirs       []string
		want       string
		kind       fault.Kind
	}{
		{"no keys anywhere", unsigned, false, nil, "", 0},
		{"keys of the system", signed, false, []string{trustDir(t, key)}, "", 0},
		{"unsigned, keys of the system", unsigned, false, []string{trustDir(t, key)}, "unsigned", fault.Verify},
		{"keys in the initramfs only", signed, true, nil, "", 0},
		{"unsigned, keys in the initramfs only", unsigned, true, nil, "starts only what is signed", fault.Verify},
		{"an ordinary image, keys in the initramfs", "oci:" + images(t) + ":v2", true, nil, "without --allow-local", fault.Refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sys := bootedOpen(t, runningDisk(t), bootctl.Booted{SignedOnly: tt.signedOnly}, tt.dirs...)
			_, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: tt.ref})
			if tt.want == "" && err != nil || tt.want != "" && (fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Apply() = %v; want kind %d and %q", err, tt.kind, tt.want)
			}
		})
	}
}

// TestApplySignaturesNotKnown tells a registry that fails from an update that
// nobody signed, where only the initramfs has keys.
func TestApplySignaturesNotKnown(t *testing.T) {
	key := newKey(t, keys.P256)
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, ".sig") {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	defer srv.Close()
	ref := strings.TrimPrefix(srv.URL, "http://") + "/os:v2"
	if _, err := oci.Push(t.Context(), reference(t, signedUpdate(t, "v2", key)), reference(t, ref), oci.Options{}); err != nil {
		t.Fatal(err)
	}
	sys := bootedOpen(t, runningDisk(t), bootctl.Booted{SignedOnly: true})
	_, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref})
	if fault.KindOf(err) != fault.Network || !strings.Contains(err.Error(), "answers 500") {
		t.Errorf("Apply() = %v; want kind %d", err, fault.Network)
	}
}

// What was applied before there was a key is not taken for signed later.
func TestApplyAgainWithAKey(t *testing.T) {
	key := newKey(t, keys.P256)
	ref := signedUpdate(t, "v2")
	path := ut.Disk(t, "oci:"+images(t)+":v1")
	apply := func(trusted ...string) *updater.Applied {
		t.Helper()
		got, err := applyTrusting(t, path, ref, trusted...)
		if err != nil {
			t.Fatal(err)
		}
		sys := open(t, path)
		defer sys.Close()
		if _, err := sys.Rollback(); err != nil {
			t.Fatal(err)
		}
		return got
	}
	apply()
	if _, err := updater.Sign(t.Context(), ref, []*keys.Private{key}, oci.Options{}); err != nil {
		t.Fatal(err)
	}
	if got := apply(trustDir(t, key)); got.Reused || len(content(t, path, bootctl.SlotB).Signatures) == 0 {
		t.Errorf("Apply() = %+v; want the slot written with its signatures", got)
	}
	if got := apply(trustDir(t, key)); !got.Reused {
		t.Errorf("Apply() again = %+v; want the slot reused", got)
	}
}

// What is staged already counts as that only if the keys vouch for it, and keys
// that somebody names are read whatever there is to do.
func TestStagedAlreadyAsksKeys(t *testing.T) {
	key, stranger := newKey(t, keys.P256), newKey(t, keys.P256)
	signed, image := signedUpdate(t, "v2", key), "oci:"+besideImage(t)+":v2"
	if _, err := updater.Sign(t.Context(), image, []*keys.Private{key}, oci.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, ref   string
		first, then []string // keys
		want        fault.Kind
	}{
		{"no keys", signed, nil, nil, fault.Nothing},
		{"signed", signed, nil, []string{trustDir(t, key)}, fault.Nothing},
		{"signed by another", signed, nil, []string{trustDir(t, stranger)}, fault.Verify},
		{"unsigned", signedUpdate(t, "v2"), nil, []string{trustDir(t, key)}, fault.Verify},
		{"keys that are not there", signed, nil, []string{filepath.Join(t.TempDir(), "none.pub")}, fault.Usage},
		{"an image that was checked", image, []string{trustDir(t, key)}, []string{trustDir(t, key)}, fault.Nothing},
		{"an image that was not", image, nil, []string{trustDir(t, key)}, 0},
		{"an image that is signed by another", image, nil, []string{trustDir(t, stranger)}, fault.Verify},
	} {
		path := ut.Disk(t, "oci:"+images(t)+":v1")
		if _, err := applyTrusting(t, path, tt.ref, tt.first...); err != nil {
			t.Fatal(err)
		}
		if _, err := applyTrusting(t, path, tt.ref, tt.then...); fault.KindOf(err) != tt.want {
			t.Errorf("%s: Apply() = %v; want kind %d", tt.name, err, tt.want)
		}
	}
}

func TestSignatureStatus(t *testing.T) {
	key, stranger := newKey(t, keys.P256), newKey(t, keys.P256)
	ref := signedUpdate(t, "v2", key)
	path := ut.Disk(t, "oci:"+images(t)+":v1")
	if _, err := applyTrusting(t, path, ref); err != nil {
		t.Fatal(err)
	}
	id := key.Public().ID[:16]
	for _, tt := range []struct {
		name    string
		trusted []string
		a, b    updater.SignatureStatus // substrings of what is wanted
	}{
		{"no keys", nil, updater.SignatureStatus{}, updater.SignatureStatus{Signatures: 1}},
		{"the key", []string{trustDir(t, key)}, updater.SignatureStatus{SignatureProblem: "unsigned"}, updater.SignatureStatus{Signatures: 1, SignedBy: id}},
		{"another key", []string{trustDir(t, stranger)}, updater.SignatureStatus{SignatureProblem: "unsigned"},
			updater.SignatureStatus{Signatures: 1, SignatureProblem: "no valid signature by any of"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sys, err := updater.Open(updater.OpenOptions{Disk: path, Trust: tt.trusted})
			if err != nil {
				t.Fatal(err)
			}
			defer sys.Close()
			st, err := sys.Status()
			if err != nil {
				t.Fatal(err)
			}
			checkStatus(t, "status of a", st.Slots["a"].SignatureStatus, tt.a)
			checkStatus(t, "status of b", st.Slots["b"].SignatureStatus, tt.b)
			found, err := sys.Verify(t.Context(), []bootctl.Slot{bootctl.SlotB}, nil)
			if err != nil {
				t.Fatal(err)
			}
			checkStatus(t, "verified b", found[0].SignatureStatus, tt.b)
			ring, err := updater.ReadKeyring(nil, tt.trusted)
			if err != nil {
				t.Fatal(err)
			}
			in, err := updater.Look(t.Context(), ref, updater.LookOptions{Keyring: ring})
			if err != nil {
				t.Fatal(err)
			}
			checkStatus(t, "update", in.SignatureStatus, tt.b)
			if !in.Signed || len(in.SignatureList) != 1 || in.SignatureList[0].Kind != "simple" || (in.SignatureList[0].SignedBy == "") != (tt.b.SignedBy == "") {
				t.Errorf("Look() = signed %v, %+v; want one simple signature", in.Signed, in.SignatureList)
			}
			if in, err = updater.Look(t.Context(), "b", updater.LookOptions{Disk: path, Keyring: ring}); err != nil {
				t.Fatal(err)
			}
			checkStatus(t, "slot b", in.SignatureStatus, tt.b)
		})
	}
}

func checkStatus(t *testing.T, what string, got, want updater.SignatureStatus) {
	t.Helper()
	if got.Signatures != want.Signatures || (got.SignedBy == "") != (want.SignedBy == "") || !strings.Contains(got.SignedBy, want.SignedBy) ||
		(got.SignatureProblem == "") != (want.SignatureProblem == "") || !strings.Contains(got.SignatureProblem, want.SignatureProblem) {
		t.Errorf("%s: %+v; want %+v", what, got, want)
	}
}

// Building again adds no signature that is there.
func TestBuildSigns(t *testing.T) {
	first, second := newKey(t, keys.P256), newKey(t, keys.Ed25519)
	dir, raw := filepath.Join(t.TempDir(), "updates"), filepath.Join(t.TempDir(), "raw.img")
	for i, with := range [][]*keys.Private{{first}, {first}, {first, second}} {
		built, err := updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + images(t) + ":v0", Dir: dir, Raw: raw, SignKeys: with})
		if err != nil {
			t.Fatal(err)
		}
		sigs, err := resolved(t, "oci:"+dir).Signatures(t.Context())
		if want := max(1, i); err != nil || len(sigs) != want || len(built.SignedBy) != len(with) {
			t.Errorf("build %d: %d signatures, signed by %v, %v; want %d", i, len(sigs), built.SignedBy, err, want)
		}
	}
	ring, err := updater.ReadKeyring(nil, []string{trustDir(t, second)})
	if err != nil {
		t.Fatal(err)
	}
	in, err := updater.Look(t.Context(), raw, updater.LookOptions{Keyring: ring})
	if err != nil {
		t.Fatal(err)
	}
	checkStatus(t, "slot image", in.SignatureStatus, updater.SignatureStatus{Signatures: 2, SignedBy: second.Public().ID[:16]})
}

// An image and the update that a publisher made of it: the update's own
// signature counts for the update.
func TestApplyUpdateBesideSignedImage(t *testing.T) {
	key := newKey(t, keys.P256)
	with := []*keys.Private{key}
	for _, tt := range []struct {
		name          string
		image, update bool // signed
		flatten       bool
		kind          fault.Kind
		want          string
	}{
		{"both signed", true, true, false, 0, ""},
		{"the update alone", false, true, false, 0, ""},
		{"the image alone", true, false, false, fault.Verify, "(--flatten takes that)"},
		{"the image alone, which is asked for", true, false, true, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := besideImage(t)
			ref := "oci:" + dir + ":v2"
			opt := updater.BuildOptions{Ref: ref, Dir: dir, Tag: "update"}
			if tt.update {
				opt.SignKeys = with
			}
			if _, err := updater.Build(t.Context(), opt); err != nil {
				t.Fatal(err)
			}
			if tt.image {
				if _, err := updater.Sign(t.Context(), ref, with, oci.Options{}); err != nil {
					t.Fatal(err)
				}
			}
			sys, err := updater.Open(updater.OpenOptions{Disk: ut.Disk(t, "oci:"+images(t)+":v1"), Access: updater.Change, Trust: []string{trustDir(t, key)}})
			if err != nil {
				t.Fatal(err)
			}
			defer sys.Close()
			got, err := sys.Apply(t.Context(), updater.ApplyOptions{Ref: ref, Flatten: tt.flatten})
			if fault.KindOf(err) != tt.kind || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("Apply() = %v; want kind %d and %q", err, tt.kind, tt.want)
			}
			if err == nil && (got.Update == tt.flatten || got.SignedBy == "") {
				t.Errorf("Apply() = %+v; want an update unless --flatten, and who signed it", got)
			}
		})
	}
}

// Nobody is to see an update in a registry before its signature.
func TestBuildPushesSignaturesFirst(t *testing.T) {
	key := newKey(t, keys.P256)
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var put []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, tag, ok := strings.Cut(r.URL.Path, "/manifests/"); ok && r.Method == http.MethodPut {
			put = append(put, tag)
		}
		inner.ServeHTTP(w, r)
	}))
	defer s.Close()
	ref := strings.TrimPrefix(s.URL, "http://") + "/os-update:2.0"
	opt := updater.BuildOptions{Ref: "oci:" + images(t) + ":v2", Push: ref, TempDir: t.TempDir(), SignKeys: []*keys.Private{key}}
	for range 2 { // the second time it is signed already
		if _, err := updater.Build(t.Context(), opt); err != nil {
			t.Fatal(err)
		}
	}
	sig := strings.Replace(resolved(t, ref).Digest(), ":", "-", 1) + ".sig"
	if len(put) < 2 || put[0] != sig || put[1] != "2.0" || slices.Contains(put[1:], sig) {
		t.Errorf("manifests that were put: %q; want %s once, then 2.0", put, sig)
	}
	path := ut.Disk(t, "oci:"+images(t)+":v1")
	if _, err := applyTrusting(t, path, ref, trustDir(t, key)); err != nil {
		t.Error(err)
	}
}
