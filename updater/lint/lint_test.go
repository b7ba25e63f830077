package lint_test

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/updater/lint"
)

// options are those of a sound image.
func options() lint.Options {
	return lint.Options{
		Architecture: "amd64", Labels: map[string]string{"org.opencontainers.image.version": "1"}, Layers: 1, Compressed: 1 << 20,
	}
}

func check(t *testing.T, f files, opt lint.Options) *lint.Report {
	t.Helper()
	im := f.image()
	r, err := lint.Check(t.Context(), im, opt)
	if err != nil {
		t.Fatal(err)
	}
	if im.reads > 1 {
		t.Errorf("read files in %d passes; want 1", im.reads)
	}
	return r
}

// short writes findings as "name path".
func short(r *lint.Report) []string {
	var list []string
	for _, f := range r.Findings {
		list = append(list, strings.TrimSpace(f.Name+" "+f.Path))
	}
	return list
}

// Images as they should be are told nothing.
func TestCleanImages(t *testing.T) {
	for name, f := range map[string]files{"debian": debian, "bootc": bootc, "alt": alt} {
		t.Run(name, func(t *testing.T) {
			for _, finding := range check(t, f, options()).Findings {
				t.Errorf("found %s %s: %s", finding.Name, finding.Path, finding.Detail)
			}
		})
	}
}

// Every rule has a row in TestFindings, and its texts.
func TestEveryRule(t *testing.T) {
	seen := map[string]bool{}
	for _, tt := range findings {
		for _, want := range tt.want {
			name, _, _ := strings.Cut(want, " ")
			seen[name] = true
		}
	}
	names := map[string]bool{}
	for _, r := range lint.Rules() {
		if names[r.Name] {
			t.Errorf("two rules are called %s", r.Name)
		}
		names[r.Name] = true
		if !regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`).MatchString(r.Name) {
			t.Errorf("rule %q is not in kebab-case", r.Name)
		}
		if r.Title == "" || r.Reason == "" || r.Mend == "" || r.Severity < lint.Note || r.Severity > lint.Error {
			t.Errorf("rule %s lacks a title, a reason, a mend or a severity: %+v", r.Name, r)
		}
		if !seen[r.Name] {
			t.Errorf("no row of TestFindings finds %s", r.Name)
		}
	}
}

// The initramfs and lint look for the same inits.
func TestInitPaths(t *testing.T) {
	source, err := os.ReadFile("../../initramfs/slot.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^var initPaths = .*$`).FindString(string(source))
	var want []string
	for _, m := range regexp.MustCompile(`"/([^"]*)"`).FindAllStringSubmatch(line, -1) {
		want = append(want, m[1])
	}
	if diff := cmp.Diff(want, lint.InitPaths); diff != "" {
		t.Errorf("init paths differ (-initramfs +lint):\n%s", diff)
	}
}

func TestIgnore(t *testing.T) {
	bad := debian.with(files{
		"etc/ssh/ssh_host_rsa_key": "key", "usr/sbin/mkfs.ext4": "", "etc/keys/a.key": "-----BEGIN PRIVATE KEY-----",
		"etc/b.key": "-----BEGIN RSA PRIVATE KEY-----",
	})
	for _, tt := range []struct {
		name, list string
		ignore     []string
		want       []string
		ignored    int
	}{
		{"nothing", "", nil, []string{"no-mkfs /usr/sbin/mkfs.ext4", "ssh-host-key /etc/ssh/ssh_host_rsa_key", "private-key /etc/b.key", "private-key /etc/keys/a.key"}, 0},
		{"by option", "", []string{"no-mkfs", "private-key"}, []string{"ssh-host-key /etc/ssh/ssh_host_rsa_key"}, 3},
		{"by option, one folder", "", []string{"private-key /etc/keys/"}, []string{"no-mkfs /usr/sbin/mkfs.ext4", "ssh-host-key /etc/ssh/ssh_host_rsa_key", "private-key /etc/b.key"}, 1},
		{"by the image", "# ours\nno-mkfs # /var is made elsewhere\n\nprivate-key etc/b.key # a test key\nssh-host-key\n", nil, []string{"private-key /etc/keys/a.key"}, 3},
		{
			"by the image, not understood", "no-such-rule\nssh-host-key a b\nprivate-key\nno-mkfs\nssh-host-key\n", nil,
			[]string{"unknown-ignore /usr/lib/abupdate/lint-ignore", "unknown-ignore /usr/lib/abupdate/lint-ignore"}, 4,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, opt := bad, options()
			if tt.list != "" {
				f = bad.with(files{lint.IgnorePath: tt.list})
			}
			for _, s := range tt.ignore {
				ig, err := lint.ParseIgnore(s)
				if err != nil {
					t.Fatal(err)
				}
				opt.Ignore = append(opt.Ignore, ig)
			}
			r := check(t, f, opt)
			if diff := cmp.Diff(tt.want, short(r)); diff != "" {
				t.Errorf("findings differ (-want +got):\n%s", diff)
			}
			if r.Ignored != tt.ignored {
				t.Errorf("Ignored = %d; want %d", r.Ignored, tt.ignored)
			}
		})
	}
}

func TestParseIgnoreRefuses(t *testing.T) {
	for _, s := range []string{"", "no-such-rule", "no-kernel a b", "No-Kernel"} {
		if ig, err := lint.ParseIgnore(s); err == nil {
			t.Errorf("ParseIgnore(%q) = %v; want an error", s, ig)
		}
	}
}

// The worst comes first, counts are those of all findings, and a rule lists
// so many only.
func TestReport(t *testing.T) {
	f := debian.with(files{"usr/sbin/mkfs.ext4": "", "etc/shadow": "root::1::::::\na::1::::::\n"})
	for i := range 150 {
		f["usr/share/old/"+strings.Repeat("x", i+1)] = "time -1"
	}
	r := check(t, f, options())
	if !slices.IsSortedFunc(r.Findings, func(a, b lint.Finding) int { return int(b.Severity) - int(a.Severity) }) {
		t.Errorf("the worst is not first: %v", short(r))
	}
	if r.Notes != 150 || r.Omitted["time-range"] != 50 || r.Warnings != 2 || r.Errors == 0 {
		t.Errorf("report counts %d errors, %d warnings, %d notes, %v omitted; want some, 2, 150 and 50", r.Errors, r.Warnings, r.Notes, r.Omitted)
	}
	if got := len(r.Findings); got != r.Errors+2+100 {
		t.Errorf("%d findings are listed; want %d", got, r.Errors+2+100)
	}
}

type failing struct{ *image }

func (failing) ReadFiles(context.Context, []string, int64) (map[string][]byte, error) {
	return nil, errors.New("layer 1 is damaged")
}

func TestCheckFails(t *testing.T) {
	if _, err := lint.Check(t.Context(), failing{debian.image()}, options()); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("Check() of an unreadable image = %v; want the reader's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := lint.Check(ctx, debian.image(), options()); !errors.Is(err, context.Canceled) {
		t.Errorf("Check() = %v; want canceled", err)
	}
}
