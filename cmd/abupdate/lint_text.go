package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/abupdate/abupdate/updater/lint"
)

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// shownPerRule is how many paths of one rule people get to see.
const shownPerRule = 10

// printReport prints findings of one rule together: what and why once, then
// where, then what to do.
func printReport(w io.Writer, r *lint.Report) {
	titles := map[string]string{}
	for _, rule := range lint.Rules() {
		titles[rule.Name] = rule.Title
	}
	for rest := r.Findings; len(rest) > 0; {
		first := rest[0]
		n := slices.IndexFunc(rest, func(f lint.Finding) bool { return f.Name != first.Name })
		if n < 0 {
			n = len(rest)
		}
		fmt.Fprintf(w, "%v: %s: %s\n    %s\n", first.Severity, first.Name, titles[first.Name], first.Reason)
		for _, f := range rest[:min(n, shownPerRule)] {
			if where := strings.TrimSuffix(f.Path+": "+f.Detail, ": "); where != "" {
				fmt.Fprintf(w, "    - %s\n", strings.TrimPrefix(where, ": "))
			}
		}
		if more := n - shownPerRule + r.Omitted[first.Name]; more > 0 {
			fmt.Fprintf(w, "    - and %d more\n", more)
		}
		fmt.Fprintf(w, "    mend: %s\n", first.Mend)
		rest = rest[n:]
	}
	fmt.Fprintf(w, "%s, %s, %s", count(r.Errors, "error"), count(r.Warnings, "warning"), count(r.Notes, "note"))
	if r.Ignored > 0 {
		fmt.Fprintf(w, " (%d ignored)", r.Ignored)
	}
	fmt.Fprintln(w)
}

// printRules prints the list of rules.
func printRules(w io.Writer) {
	for _, r := range lint.Rules() {
		fmt.Fprintf(w, "%v\t%s\t%s\n", r.Severity, r.Name, r.Title)
	}
}

// writeLintDocs writes docs/lint.md.
func writeLintDocs(w io.Writer) error {
	var b bytes.Buffer
	b.WriteString(lintIntro)
	for _, g := range lint.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", g.Title)
		for _, r := range g.Rules {
			fmt.Fprintf(&b, "\n### %s\n\n%v: %s. %s.\n\nMend: %s.\n", r.Name, capital(r.Severity.String()), r.Title, capital(r.Reason), r.Mend)
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

const lintIntro = "# Findings of abupdate lint\n\n<!-- Made by `abupdate docs lint > docs/lint.md`; a test compares them. -->\n\n" +
	"`abupdate lint IMAGE` reads an image's layers and tells what makes it unfit for abupdate, or risky, before it is built.\n" +
	"Nothing is written, and no file of the image is run.\n\n" +
	"| severity | meaning | exit code |\n|---|---|---|\n" +
	"| error | the device does not boot, or does not keep the update | 1 |\n" +
	"| warning | it works, with a risk | 0; 1 with `--strict` |\n" +
	"| note | worth knowing | 0 |\n\n" +
	"With `--slot-size SIZE` or `--disk DISK` the image has to fit in a slot. Its size is estimated from the layers' sizes: what\n" +
	"surely does not fit is an error, what surely fits is silent, and what lies between is a note. `--exact` packs the image, with the\n" +
	"flags of `build`, and throws the result away.\n\n" +
	"`--json` prints `findings` (`name`, `severity`, `path`, `detail`, `reason`, `mend`), `errors`, `warnings`, `notes`, `ignored`, and\n" +
	"`omitted`: of each rule at most 100 findings are listed, all are counted. Names stay the same from version to version.\n\n" +
	"## Leaving findings out\n\n" +
	"`--ignore NAME,...` leaves out a rule's findings, `--ignore 'NAME PATH'` those at a path or below it. An image says the same for\n" +
	"itself in `/usr/lib/abupdate/lint-ignore`:\n\n" +
	"```\nvar-content /var/www       # the device's users put their own pages there\nno-fsck                    # /var is btrfs on our boards\n```\n\n" +
	"A name that no rule has is an error with `--ignore`, and a note in the image's list: that may be meant for another version.\n\n" +
	"## What is looked at\n\n" +
	"- Links are followed inside the image, so merged `/usr`, bootc's and ALT's layouts (`/home -> var/home` and the like) are as good\n" +
	"  as any. Kernels are looked for where `build` does.\n" +
	"- What a kernel can is read from its modules, `modules.builtin`, and `/boot/config-RELEASE` or `config` beside the modules.\n" +
	"- Programs that the boot needs are read as ELF files: architecture, loader, libraries. A library counts as there when any file of\n" +
	"  the image has its name.\n" +
	"- Of `/var` only files are findings. The initramfs makes folders that a device lacks at every boot; it adds files once for each\n" +
	"  image, and never changes or removes one. Homes are left alone. `tmpfiles.d` is read as systemd does: `/etc` before `/usr/lib` by\n" +
	"  file name, masks, specifiers.\n" +
	"- A private key is a file with a key's name (`*.key`, `*.pem`, `id_*`, ...) that holds one, outside of documentation, tests and\n" +
	"  examples. Other secrets in other files are not found.\n" +
	"- POSIX ACLs are counted, not listed. systemd gives one to `/var/log/journal`, and restores it by `tmpfiles.d`.\n"
