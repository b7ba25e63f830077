package selector_test

import (
	"bytes"
	"cmp"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/abupdate/abupdate/updater/selector"
)

// TestFolders brings a folder in place of an ESP, and one in place of
// efivarfs, to a new selector.
func TestFolders(t *testing.T) {
	dir := t.TempDir()
	esp := filepath.Join(dir, "esp")
	efi := filepath.Join(dir, "efi")
	old := filepath.Join(esp, fallback)
	for _, d := range []string{filepath.Dir(old), filepath.Join(efi, "efivars")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, old, "good 0")
	if v := selector.OpenVariables(filepath.Join(dir, "absent")); v != nil {
		t.Errorf("firmware without EFI has variables %v", v)
	}
	write(t, filepath.Join(efi, "efivars", "BootOrder"+global), "\x07\x00\x00\x00\x00\x00")
	write(t, filepath.Join(efi, "efivars", imageVar), "\x06\x00\x00\x00"+string(encode16(`\EFI\BOOT\BOOTX64.EFI`)))
	m, err := selector.OpenDir(esp)
	if err != nil {
		t.Fatal(err)
	}
	v := selector.Variables(replacing{selector.OpenVariables(efi)})
	boot := func(name string, state selector.State) {
		t.Helper()
		facts := selector.Facts{ESP: selector.ESP{GUID: "0f4a2c1e-9d5b-4a77-8f01-0123456789ab"}, Fallback: fallback, Boot: name,
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("good 1")), nil }}
		w, err := selector.Look(m, v, facts)
		if err != nil {
			t.Fatal(err)
		}
		d := selector.Plan(w, selector.Options{})
		if err := cmp.Or(selector.Run(m, v, facts, d.Steps), d.Err); err != nil || d.State != state {
			t.Fatalf("boot %s: %s, %v; want %s", name, d.State, err, state)
		}
	}
	boot("1", selector.Ordered)
	file := selector.Path(digest("good 1"))
	if b, err := os.ReadFile(filepath.Join(esp, file)); err != nil || string(b) != "good 1" {
		t.Errorf("%s holds %q, %v", file, b, err)
	}
	next, err := os.ReadFile(filepath.Join(efi, "efivars", "BootNext"+global))
	if err != nil || !bytes.Equal(next, []byte{7, 0, 0, 0, 1, 0}) {
		t.Errorf("BootNext is %x, %v; want attributes and entry 1", next, err)
	}
	if err := v.Delete("BootNext" + global); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(efi, "efivars", imageVar), "\x06\x00\x00\x00"+string(encode16(`\`+strings.ReplaceAll(file, "/", `\`))))
	for _, name := range []string{"2", "3", "4"} {
		boot(name, selector.Current)
	}
	if b, err := os.ReadFile(old); err != nil || string(b) != "good 1" {
		t.Errorf("the fallback path holds %q, %v; want the new one", b, err)
	}
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// replacing makes files whole as efivarfs does, also when they get shorter.
type replacing struct{ selector.Variables }

func (v replacing) Set(name string, data []byte) error {
	if err := v.Delete(name); err != nil {
		return err
	}
	return v.Variables.Set(name, data)
}
