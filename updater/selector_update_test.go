package updater_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater"
	"github.com/abupdate/abupdate/updater/selector"
)

// TestUpdateSelector: a slot's selector is due once the slot is confirmed.
func TestUpdateSelector(t *testing.T) {
	p := newPatient(t)
	esp, root := t.TempDir(), t.TempDir()
	fallback := filepath.Join(esp, updater.LoaderPath(runtime.GOARCH))
	brought := filepath.Join(root, updater.SelectorDir, filepath.Base(fallback))
	for _, file := range []string{fallback, brought} {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(fallback, []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	files, err := selector.OpenDir(esp)
	if err != nil {
		t.Fatal(err)
	}
	sys, err := p.open(updater.Change)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		brings    string
		confirmed bool
		replace   bool
		only      bool
		state     selector.State // "": there is no report
		kind      fault.Kind
	}{
		{"not confirmed", "", false, false, false, "", fault.Refused},
		{"not confirmed, only looked at", "", false, false, true, selector.None, 0},
		{"the slot brings none", "", true, false, false, selector.None, 0},
		{"another one, no variables", "new", true, false, false, selector.Due, fault.Refused},
		{"another one, only looked at", "new", true, true, true, selector.Current, 0},
		{"another one, and it may be replaced", "new", true, true, false, selector.Current, 0},
		{"the same", "new", true, false, false, selector.Current, 0},
	} {
		if tt.brings != "" {
			if err := os.WriteFile(brought, []byte(tt.brings), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p.edit(func(s bootctl.State) bootctl.State { s.LastBoot.Confirmed = tt.confirmed; return s })
		r, err := sys.UpdateSelector(updater.SelectorOptions{
			Options: selector.Options{ReplaceFallback: tt.replace}, Only: tt.only, Root: root, Files: files,
		})
		if fault.KindOf(err) != tt.kind || (r == nil) != (tt.state == "") || r != nil && r.State != tt.state {
			t.Errorf("%s: UpdateSelector() = %+v, %v; want state %q, kind %d", tt.name, r, err, tt.state, tt.kind)
		}
		want := "old"
		if tt.replace && !tt.only || tt.name == "the same" {
			want = "new"
		}
		if got, err := os.ReadFile(fallback); err != nil || string(got) != want {
			t.Errorf("%s: the fallback path holds %q, %v; want %q", tt.name, got, err, want)
		}
	}
}
