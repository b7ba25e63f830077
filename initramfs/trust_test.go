package initramfs_test

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs"
	"github.com/abupdate/abupdate/internal/manifest"
	"github.com/abupdate/abupdate/recovery"
	"github.com/abupdate/abupdate/recovery/recoverytest"
	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

func newKey(t testing.TB) *keys.Private {
	t.Helper()
	k, err := keys.Generate(keys.P256)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func publicPEM(t testing.TB, k *keys.Private) string {
	t.Helper()
	text, err := k.PublicPEM()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// signer makes what lies beside a manifest in a slot.
func signer(t testing.TB, k *keys.Private, change ...func(*trust.Envelope)) func([]byte) []byte {
	return func(update []byte) []byte {
		t.Helper()
		oci := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"mediaType":%q,"digest":%q}}`, manifest.ConfigMediaType, digest(update))
		sig, err := k.Sign(digest(oci), "")
		if err != nil {
			t.Fatal(err)
		}
		e := trust.Envelope{OCIManifest: oci, Signatures: []trust.Signature{sig}}
		for _, c := range change {
			c(&e)
		}
		b, err := e.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func TestTrust(t *testing.T) {
	key, next, stranger := newKey(t), newKey(t), newKey(t)
	list, err := key.SignList([]byte(publicPEM(t, next)))
	if err != nil {
		t.Fatal(err)
	}
	withList := func(e *trust.Envelope) { e.KeyLists = []trust.KeyList{list} }
	trusting := image{"etc/abupdate/trust.d/vendor.pub": publicPEM(t, key)}
	allowing := trusting.with(image{"etc/abupdate/initramfs.json": `{"allow_local":true}`})
	for _, tt := range []struct {
		name   string
		files  image // of the initramfs
		sign   func([]byte) []byte
		reason string // why slot B does not start; "" when it does
	}{
		{"no keys, unsigned", nil, nil, ""},
		{"no keys, signed by anybody", nil, signer(t, stranger), ""},
		{"signed", trusting, signer(t, key), ""},
		{"unsigned", trusting, nil, "it is unsigned, and this device starts only what is signed by one of"},
		{"signed by another key", trusting, signer(t, stranger), "no valid signature by any of"},
		{"a signature of something else", trusting, func([]byte) []byte { return signer(t, key)([]byte("{}")) }, "the update manifest is"},
		{"signatures taken out", trusting, signer(t, key, func(e *trust.Envelope) { e.Signatures = nil }), "unsigned"},
		{"no envelope", trusting, func([]byte) []byte { return []byte("signed, I promise") }, "reading signatures"},
		{"one of two keys", trusting.with(image{"etc/abupdate/trust.d/next.pub": publicPEM(t, next)}), signer(t, next), ""},
		{"a key that a list brings", trusting, signer(t, next, withList), ""},
		{"the list of another key", image{"etc/abupdate/trust.d/x.pub": publicPEM(t, stranger)}, signer(t, next, withList), "no valid signature"},
		{"local, allowed", allowing, nil, ""},
		{"local allowed, signed by another key", allowing, signer(t, stranger), "no valid signature"},
		{"local not allowed by name", trusting.with(image{"etc/abupdate/initramfs.json": "{}"}), nil, "it is unsigned"},
		{"a config that cannot be read", trusting.with(image{"etc/abupdate/initramfs.json": "{"}), nil, "initramfs.json"},
		{"a key that cannot be read", trusting.with(image{"etc/abupdate/trust.d/y.pub": "key"}), signer(t, key), "y.pub"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			disk := recoverytest.NewDisk(t, 0, true)
			disk.FillSigned(t, bootctl.SlotRecovery, "golden", signer(t, key))
			s := bootctl.New().Install(bootctl.SlotA, disk.FillSigned(t, bootctl.SlotA, "1.0", signer(t, key)))
			disk.SetState(t, s.Stage(bootctl.SlotB, disk.FillSigned(t, bootctl.SlotB, "2.0", tt.sign)))
			d := newDevice(t, disk.Dev)
			f := d.boot(func(f *fakeSystem) { tt.files.put(t, f.root) })
			b := d.slot(bootctl.SlotB)
			if tt.reason == "" {
				if f.booting != bootctl.SlotB || f.switched == nil {
					t.Errorf("slot %v boots, last failure of b %q; want b", f.booting, b.LastFailure)
				}
				return
			}
			if f.did("verity") || f.restarted != recovery.Reboot || !strings.Contains(b.LastFailure, tt.reason) {
				t.Errorf("verity opened: %v, restarted %v, last failure of b %q; want a reboot because of %q before verity",
					f.did("verity"), f.restarted, b.LastFailure, tt.reason)
			}
		})
	}
}

// The reason stays to be seen when the device is back on the old slot.
func TestFallbackFromUnsignedSlot(t *testing.T) {
	key := newKey(t)
	disk := recoverytest.NewDisk(t, 0, false)
	s := bootctl.New().Install(bootctl.SlotA, disk.FillSigned(t, bootctl.SlotA, "1.0", signer(t, key)))
	disk.SetState(t, s.Stage(bootctl.SlotB, disk.FillSlot(t, bootctl.SlotB, "2.0")))
	d := newDevice(t, disk.Dev)
	boots := 0
	for ; boots < 10; boots++ {
		f := d.boot(func(f *fakeSystem) { image{"etc/abupdate/trust.d/vendor.pub": publicPEM(t, key)}.put(t, f.root) })
		if f.switched != nil {
			if f.booting != bootctl.SlotA {
				t.Errorf("slot %v boots; want a", f.booting)
			}
			break
		}
	}
	if state := d.state(); boots != bootctl.DefaultTries || !strings.Contains(state.Fallback, "unsigned") {
		t.Errorf("after %d boots the fallback is %q; want %d, and that b is unsigned", boots, state.Fallback, bootctl.DefaultTries)
	}
}

func TestConfigIsWhatTheInitramfsReads(t *testing.T) {
	if initramfs.ConfigPath != "/etc/abupdate/initramfs.json" || initramfs.TrustDir != "/etc/abupdate/trust.d" {
		t.Errorf("paths are %s and %s; docs/ondisk.md says otherwise", initramfs.ConfigPath, initramfs.TrustDir)
	}
}

// The kernel of a slot is started only when the slot is signed, and what is
// started checks again: the keys go along.
func TestTrustWithOtherKernel(t *testing.T) {
	key := newKey(t)
	keyFiles := image{"etc/abupdate/trust.d/vendor.pub": publicPEM(t, key)}
	changed := func(sign func([]byte) []byte) *device {
		disk := recoverytest.NewDisk(t, 0, true)
		s := bootctl.New().Install(bootctl.SlotA, disk.FillSigned(t, bootctl.SlotA, "1.0", signer(t, key)))
		disk.SetState(t, s.Stage(bootctl.SlotB, disk.FillSigned(t, bootctl.SlotB, "2.0", sign, func(m *manifest.Manifest) { m.Kernel = otherKernel })))
		d := newDevice(t, disk.Dev)
		d.images[bootctl.SlotB] = withKernel(t)
		return d
	}
	boot := func(d *device) *fakeSystem {
		return d.boot(selectorBoot(t), func(f *fakeSystem) { keyFiles.put(t, f.root) })
	}

	d := changed(nil)
	if f := boot(d); f.kexec != nil || f.did("verity") || !strings.Contains(d.slot(bootctl.SlotB).LastFailure, "unsigned") {
		t.Errorf("an unsigned slot: went over to %v, last failure %q", f.kexec, d.slot(bootctl.SlotB).LastFailure)
	}

	f := boot(changed(signer(t, key)))
	if f.kexec == nil {
		t.Fatalf("a signed slot: no other kernel was started; log %q", f.log)
	}
	second := f.second()
	if second.switched == nil || second.read("etc/abupdate/trust.d/vendor.pub") != keyFiles["etc/abupdate/trust.d/vendor.pub"] {
		t.Errorf("the second kernel: init %q, key %q; want the init started, and the same key",
			second.switched, second.read("etc/abupdate/trust.d/vendor.pub"))
	}
	if !strings.Contains(second.read("run/abupdate/boot.json"), `"signed_only": true`) {
		t.Errorf("the second kernel leaves word %s; want signed_only", second.read("run/abupdate/boot.json"))
	}
}
