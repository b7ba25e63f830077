package debianimage_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/debianimage"
)

// writeTar writes entries "name=content", "name/" or "name->target" (a
// symlink) or "name=>target" (a hardlink), with mode 0644 unless it starts
// with "+x ".
func writeTar(t *testing.T, entries ...string) string {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}
		e, exec := strings.CutPrefix(e, "+x ")
		if exec {
			h.Mode = 0o755
		}
		var content string
		switch {
		case strings.Contains(e, "=>"):
			h.Typeflag = tar.TypeLink
			h.Name, h.Linkname, _ = strings.Cut(e, "=>")
		case strings.Contains(e, "->"):
			h.Typeflag = tar.TypeSymlink
			h.Name, h.Linkname, _ = strings.Cut(e, "->")
		case strings.HasSuffix(e, "/"):
			h.Typeflag, h.Name = tar.TypeDir, e
		default:
			h.Name, content, _ = strings.Cut(e, "=")
		}
		h.Name = "./" + h.Name
		h.Size = int64(len(content))
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	f := filepath.Join(t.TempDir(), "t.tar")
	if err := os.WriteFile(f, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

func readTar(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	got := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean(h.Name)
		if _, ok := got[name]; ok {
			t.Errorf("%s twice in the tar", name)
		}
		got[name] = fmt.Sprintf("%c%o%s%s", h.Typeflag, h.Mode, h.Linkname, b)
	}
}

func TestWriteDiff(t *testing.T) {
	tests := []struct {
		name       string
		base, next []string
		want       []string
	}{
		{"equal trees", []string{"a/", "a/f=1", "l->a"}, []string{"a/", "a/f=1", "l->a"}, nil},
		{"file added", []string{"a/"}, []string{"a/", "a/f=1"}, []string{"a/f"}},
		{"content changed, same size", []string{"f=1", "g=1"}, []string{"f=2", "g=1"}, []string{"f"}},
		{"mode changed", []string{"f=1"}, []string{"+x f=1"}, []string{"f"}},
		{"symlink turned", []string{"l->a"}, []string{"l->b"}, []string{"l"}},
		{"file became a symlink", []string{"f=1"}, []string{"f->b"}, []string{"f"}},
		{"file removed", []string{"a/", "a/f=1", "a/g=1"}, []string{"a/", "a/g=1"}, []string{"a/.wh.f"}},
		{"directory removed, once", []string{"./", "a/", "a/f=1"}, []string{"./"}, []string{".wh.a"}},
		{"hardlink follows its changed file", []string{"f=1", "h=>./f"}, []string{"f=2", "h=>./f"}, []string{"f", "h"}},
		{"hardlink of an unchanged file", []string{"f=1", "h=>./f"}, []string{"f=1", "h=>./f"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "diff.tar")
			if err := debianimage.WriteDiff(out, writeTar(t, tt.base...), writeTar(t, tt.next...)); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(out)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var got []string
			for name := range readTar(t, f) {
				got = append(got, name)
			}
			slices.Sort(got)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("WriteDiff() mismatch (-want +got):\n%s", d)
			}
		})
	}
}

func TestWriteDiffDamagedTar(t *testing.T) {
	good := writeTar(t, "f="+strings.Repeat("x", 2000))
	b, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.tar")
	if err := os.WriteFile(cut, b[:1000], 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "diff.tar")
	if err := debianimage.WriteDiff(out, cut, good); err == nil {
		t.Error("WriteDiff(cut, good) = nil")
	}
	if err := debianimage.WriteDiff(out, good, cut); err == nil {
		t.Error("WriteDiff(good, cut) = nil")
	}
}

func TestReadMeta(t *testing.T) {
	const release = "usr/lib/os-release=ID=debian\n"
	tests := []struct {
		name    string
		entries []string
		want    debianimage.Meta
		wantErr string
	}{
		{"a root", []string{"boot/vmlinuz-6.1.0-1-cloud-amd64=k", release}, debianimage.Meta{Kernel: "6.1.0-1-cloud-amd64", OSRelease: "ID=debian\n"}, ""},
		{"no kernel", []string{release}, debianimage.Meta{}, "missing"},
		{"an initramfs was built", []string{"boot/initrd.img-6.1=i", "boot/vmlinuz-6.1=k", release}, debianimage.Meta{}, "initramfs"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := debianimage.ReadMeta(writeTar(t, tt.entries...))
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
					t.Fatalf("ReadMeta() = %v; want an error with %q", err, tt.wantErr)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("ReadMeta() = %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestTopLayer(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(bin, []byte("ELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	programs := debianimage.Binaries{Abupdate: bin, Agent: bin}
	m := debianimage.Meta{Kernel: "6.1", OSRelease: "ID=debian\n"}
	layer := func(broken bool) map[string]string {
		l, err := debianimage.TopLayer(m, programs, debianimage.NewVersion("7", "for a test", broken))
		if err != nil {
			t.Fatal(err)
		}
		again, err := debianimage.TopLayer(m, programs, debianimage.NewVersion("7", "for a test", broken))
		if err != nil {
			t.Fatal(err)
		}
		d1, err1 := l.DiffID()
		d2, err2 := again.DiffID()
		if d1 != d2 || err1 != nil || err2 != nil {
			t.Errorf("two builds of one layer: %v (%v) and %v (%v)", d1, err1, d2, err2)
		}
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return readTar(t, r)
	}
	good, broken := layer(false), layer(true)
	if got, want := good["usr/lib/os-release"], "0644ID=debian\nIMAGE_ID=abupdate-demo\nIMAGE_VERSION=7\n"; got != want {
		t.Errorf("os-release = %q; want %q", got, want)
	}
	const wants = "usr/lib/systemd/system/multi-user.target.wants/abupdate-mark-good.service"
	if got, want := good[wants], "2777../abupdate-mark-good.service"; got != want {
		t.Errorf("%s = %q; want %q", wants, got, want)
	}
	var differ []string
	for name := range good {
		if good[name] != broken[name] {
			differ = append(differ, name)
		}
	}
	if d := cmp.Diff([]string{"etc/ssh/sshd_config.d/10-device.conf"}, differ); d != "" || len(good) != len(broken) {
		t.Errorf("broken layer differs from the good one (-want +got):\n%s", d)
	}
	if _, err := debianimage.TopLayer(m, debianimage.Binaries{Abupdate: "/does/not/exist", Agent: bin}, debianimage.NewVersion("1", "", false)); err == nil {
		t.Error("TopLayer() without a program = nil error")
	}
}
