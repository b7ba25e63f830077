package campaign_test

import (
	"testing"

	"github.com/abupdate/abupdate/internal/blockdev"
	"github.com/abupdate/abupdate/internal/blockdev/blockdevtest"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

// A start is a disk at a moment of its life that is damaged then.
type start struct {
	name string
	// before brings a disk with v1 in A and v3 in B to that moment; v2 is
	// what it goes over to.
	before func(t *testing.T, r refs, dev blockdev.Device)
	keys   string // are typed at the first boot's console
}

var starts = []start{
	{name: "two good slots", before: updated},
	{name: "a slot to be tried", before: staged},
	{name: "an apply that was interrupted", before: func(t *testing.T, r refs, dev blockdev.Device) {
		t.Helper()
		dying := blockdevtest.Inject(dev, blockdevtest.Faults{Write: 4, Onwards: true})
		if err := try(dying, nil, apply(t, updater.ApplyOptions{Ref: r.update["v2"]})); err == nil || !dying.Hit() {
			t.Fatalf("apply on a dying disk: %v", err)
		}
	}},
	{name: "a factory reset that was ordered", before: func(t *testing.T, r refs, dev blockdev.Device) {
		t.Helper()
		updated(t, r, dev)
		order(t, dev, func(s *updater.System) error { _, err := s.FactoryReset(); return err })
	}},
	{name: "nothing left but the golden image", keys: "2\r", before: func(t *testing.T, r refs, dev blockdev.Device) {
		t.Helper()
		updated(t, r, dev)
		exhausted(t, r, dev)
	}},
}

// signed makes an update of an image that is signed.
func signed(t *testing.T, name string) string {
	t.Helper()
	key, err := keys.Generate(keys.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, err = updater.Build(t.Context(), updater.BuildOptions{Ref: "oci:" + images(t) + ":" + name, Dir: dir, Tag: name, SignKeys: []*keys.Private{key}})
	if err != nil {
		t.Fatal(err)
	}
	return "oci:" + dir + ":" + name
}
