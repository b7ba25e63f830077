package initramfs_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/abupdate/abupdate/bootctl"
	"github.com/abupdate/abupdate/initramfs"
)

func TestParseCmdline(t *testing.T) {
	type want = initramfs.Cmdline
	const grace = initramfs.DefaultGrace
	for _, tt := range []struct {
		name, line string
		want       want
	}{
		{"nothing", "", want{Grace: grace, Overlay: "50%", Menu: -1}},
		{"what image writes", "console=tty0 console=ttyS0 panic=5 abupdate.disk=0F1E-AB quiet\n", want{Grace: grace, Overlay: "50%", Menu: -1, Disk: "0f1e-ab"}},
		{"all of it", "abupdate.slot=recovery abupdate.overlay=25% abupdate.menu=3 abupdate.watchdog=60 abupdate.watchdog_grace=20 abupdate.debug abupdate.timing init=/bin/sh",
			want{Grace: 20 * time.Second, Slot: bootctl.SlotRecovery, Overlay: "25%", Menu: 3 * time.Second, Watchdog: time.Minute, Debug: true, Timing: true, Init: "/bin/sh"}},
		{"debug off", "abupdate.debug=0 abupdate.timing=0", want{Grace: grace, Overlay: "50%", Menu: -1}},
		{"quotes", `dyndbg="file a +p" "init=/opt/my init" abupdate.slot="b"`, want{Grace: grace, Overlay: "50%", Menu: -1, Init: "/opt/my init", Slot: bootctl.SlotB}},
		{"an open quote goes to the end", `init="/a b c`, want{Grace: grace, Overlay: "50%", Menu: -1, Init: "/a b c"}},
		{"what follows -- is the init's", "abupdate.slot=a -- abupdate.slot=b init=/x", want{Grace: grace, Overlay: "50%", Menu: -1, Slot: bootctl.SlotA}},
		{"-- at the end", "abupdate.slot=a --", want{Grace: grace, Overlay: "50%", Menu: -1, Slot: bootctl.SlotA}},
		{"a size in bytes", "abupdate.overlay=268435456", want{Grace: grace, Overlay: "268435456", Menu: -1}},
		{"a size with a unit", "abupdate.overlay=512M", want{Grace: grace, Overlay: "536870912", Menu: -1}},
		{"a small unit", "abupdate.overlay=2g", want{Grace: grace, Overlay: "2147483648", Menu: -1}},
		{"prefixes of options are none of ours", "abupdatex=1 xabupdate.slot=a", want{Grace: grace, Overlay: "50%", Menu: -1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, initramfs.ParseCmdline(tt.line)); diff != "" {
				t.Errorf("ParseCmdline(%q) differs (-want +got):\n%s", tt.line, diff)
			}
		})
	}
}

// A value that makes no sense is ignored and named.
func TestParseCmdlineMistakes(t *testing.T) {
	for _, word := range []string{
		"abupdate.slot=", "abupdate.slot=c", "abupdate.slot=A", "abupdate.overlay=", "abupdate.overlay=0%", "abupdate.overlay=101%",
		"abupdate.overlay=%", "abupdate.overlay=1K", "abupdate.overlay=M", "abupdate.overlay=-1M", "abupdate.overlay=1,mode=777",
		"abupdate.overlay=9999999999G", "abupdate.overlay=2048G", "abupdate.menu=soon", "abupdate.menu=-1", "abupdate.menu=3601",
		"abupdate.watchdog=1.5", "abupdate.watchdog_grace=-1", "abupdate.typo=1", "abupdate.=", "init=sh", "init=",
	} {
		c := initramfs.ParseCmdline(word)
		if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], word) {
			t.Errorf("ParseCmdline(%q) warns %q; want it named", word, c.Warnings)
		}
		c.Warnings = nil
		if diff := cmp.Diff(initramfs.ParseCmdline(""), c); diff != "" {
			t.Errorf("ParseCmdline(%q) has an effect (-without +with):\n%s", word, diff)
		}
	}
}

func FuzzParseCmdline(f *testing.F) {
	f.Add(`console=ttyS0 abupdate.slot=a abupdate.overlay=50% init="/a b" -- x`)
	f.Add(`abupdate.overlay=1G abupdate.menu=10 "`)
	f.Fuzz(func(t *testing.T, line string) {
		c := initramfs.ParseCmdline(line)
		if strings.Trim(c.Overlay, "0123456789%") != "" || c.Overlay == "" {
			t.Errorf("overlay %q would be more than a size to mount", c.Overlay)
		}
		if c.Menu > time.Hour || c.Watchdog < 0 || c.Watchdog > time.Hour {
			t.Errorf("menu %v, watchdog %v out of bounds", c.Menu, c.Watchdog)
		}
		if c.Init != "" && c.Init[0] != '/' {
			t.Errorf("init %q is not absolute", c.Init)
		}
		// The order of different options does not matter, and parsing again
		// what was understood changes nothing.
		if d := initramfs.ParseCmdline("x " + line); !cmp.Equal(c, d) {
			t.Errorf("a word in front changes %+v to %+v", c, d)
		}
	})
}

// Whatever the running command line is, the one made of it has the slot's
// words, is in force then, and keeps what is the init's.
func FuzzNewCmdline(f *testing.F) {
	f.Add("console=ttyS0 panic=5 -- single", "", `quiet key="a b"`)
	f.Add("a quiet\t--\tb", "quiet", "panic=1")
	f.Add(`a="x -- y"`, "a", "b")
	f.Fuzz(func(t *testing.T, line, selector, kargs string) {
		for _, s := range []string{line, selector, kargs} {
			if strings.Count(s, `"`)%2 != 0 || strings.Contains(s, `"--"`) || strings.Contains(s, `""`) {
				return // the kernel reads such lines otherwise than they look
			}
		}
		line, kargs = strings.TrimSpace(line), strings.Join(strings.Fields(kargs), " ")
		if strings.Contains(" "+kargs+" ", " -- ") || strings.Contains(" "+selector+" ", " -- ") {
			return
		}
		got := initramfs.NewCmdline(line, selector, kargs)
		words := initramfs.SplitCmdline(got)
		for _, w := range initramfs.SplitCmdline(kargs) {
			if !slices.Contains(words, w) {
				t.Errorf("NewCmdline(%q, %q, %q) = %q, without %q", line, selector, kargs, got, w)
			}
		}
		if !initramfs.InForce(got, kargs, "") {
			t.Errorf("NewCmdline(%q, %q, %q) = %q is not in force", line, selector, kargs, got)
		}
		if !slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(w, "panic=") }) {
			t.Errorf("NewCmdline(%q, %q, %q) = %q has no panic=", line, selector, kargs, got)
		}
	})
}
