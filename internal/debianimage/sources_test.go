package debianimage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/internal/debianimage"
)

func TestSourceLines(t *testing.T) {
	const key = "deb [signed-by=/k.gpg] "
	tests := []struct {
		name    string
		targets string
		want    []string
	}{
		{"release, updates and security",
			"amd64 http://mirror.example/debian/ trixie main\namd64 http://mirror.example/debian/ trixie-updates main\n" +
				"amd64 http://mirror.example/security/ trixie-security main\n",
			[]string{key + "http://mirror.example/debian/ trixie main", key + "http://mirror.example/debian/ trixie-updates main",
				key + "http://mirror.example/security/ trixie-security main"}},
		{"foreign architecture of the same mirror", "amd64 http://m.example/ trixie main\ni386 http://m.example/ trixie main\n",
			[]string{key + "http://m.example/ trixie main"}},
		{"backports, proposed updates and another release",
			"amd64 http://m.example/ trixie-backports main\namd64 http://m.example/ trixie-proposed-updates main\namd64 http://m.example/ sid main\n", nil},
		{"a medium in the drive", "amd64 cdrom:[Debian]/ trixie main\n", nil},
		{"nothing", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := debianimage.SourceLines(tt.targets, debianimage.Pockets("trixie", false), "/k.gpg")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("SourceLines() mismatch (-want +got):\n%s", d)
			}
		})
	}
	got, err := debianimage.SourceLines(tests[0].targets, debianimage.Pockets("trixie", true), "/k.gpg")
	if d := cmp.Diff(tests[0].want[:1], got); err != nil || d != "" {
		t.Errorf("SourceLines() of the release alone, error %v (-want +got):\n%s", err, d)
	}
	if _, err := debianimage.SourceLines("garbage\n", []string{"trixie"}, "/k.gpg"); err == nil {
		t.Error("SourceLines(garbage) = nil error")
	}
}

func TestMirror(t *testing.T) {
	list := filepath.Join(t.TempDir(), "debian.list")
	if err := os.WriteFile(list, []byte("# mirrors\n\nhttps://one.example/debian priority:1\nhttps://two.example/debian\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.list")
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ uri, want string }{
		{"http://m.example/debian/", "http://m.example/debian/"},
		{"mirror+file:" + list + "/", "https://one.example/debian"},
		{"mirror+file://" + list, "https://one.example/debian"},
	}
	for _, tt := range tests {
		if got, err := debianimage.Mirror(tt.uri); got != tt.want || err != nil {
			t.Errorf("Mirror(%q) = %q, %v; want %q", tt.uri, got, err, tt.want)
		}
	}
	for _, uri := range []string{"mirror+file:" + empty, "mirror+file:/does/not/exist"} {
		if got, err := debianimage.Mirror(uri); err == nil {
			t.Errorf("Mirror(%q) = %q and no error", uri, got)
		}
	}
}

func TestTransportOptions(t *testing.T) {
	dump := `APT::Architecture "amd64";
Acquire::http::Proxy "http://proxy.example:3128";
Acquire::https::CaInfo "/etc/ssl/ca.pem";
Acquire::Check-Valid-Until "false";
Acquire::GzipIndexes "true";
Acquire::IndexTargets::deb::Packages::Optional "0";
Dir::Etc "etc/apt/";
`
	want := []string{`Acquire::http::Proxy "http://proxy.example:3128";`, `Acquire::https::CaInfo "/etc/ssl/ca.pem";`, `Acquire::Check-Valid-Until "false";`}
	got := strings.Split(strings.TrimSpace(debianimage.TransportOptions(dump)), "\n")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("TransportOptions() mismatch (-want +got):\n%s", d)
	}
}
