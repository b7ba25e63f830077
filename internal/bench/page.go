package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

var columns = []string{"what", "peer", "peer's figure", "ours", "ratio", "bar", "met"}

// cells are what a result has under columns.
func (r result) cells() []string {
	limit := r.bar.format(r.unit)
	if r.err != nil {
		met := "failed"
		if errors.Is(r.err, errNeedsRoot) {
			met = errNeedsRoot.Error()
		}
		return []string{r.what, r.peer, "-", "-", "-", limit, met}
	}
	met := "-"
	if r.bar.set() {
		met = map[bool]string{true: "met", false: "not met"}[r.met()]
	}
	ratio := "-"
	if r.theirs > 0 {
		ratio = fmt.Sprintf("%.2fx", r.ratio)
	}
	return []string{r.what, r.peer, r.unit.format(r.theirs), r.unit.format(r.ours), ratio, limit, met}
}

// printTable writes results with columns that line up.
func printTable(w io.Writer, title string, results []result) error {
	fmt.Fprintf(w, "\n%s\n", title)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(columns, "\t"))
	for _, r := range results {
		fmt.Fprintln(tw, strings.Join(r.cells(), "\t"))
	}
	return tw.Flush()
}

// markdownTable writes results for the page.
func markdownTable(w io.Writer, title string, results []result) {
	fmt.Fprintf(w, "\n## %s\n\n| %s |\n|%s\n", title, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, r := range results {
		fmt.Fprintf(w, "| %s |\n", strings.Join(r.cells(), " | "))
	}
}

// A section is a table with its results.
type section struct {
	title   string
	results []result
}

// writePage writes docs/benchmarks.md.
func writePage(w io.Writer, b *bench, sections []section, day time.Time) {
	fmt.Fprintf(w, "# Benchmarks\n\n`make bench` writes this page; this is the run of %s. MB is 10^6 bytes.\n\n", day.Format(time.DateOnly))
	for _, line := range machine() {
		fmt.Fprintf(w, "- %s\n", line)
	}
	fmt.Fprintf(w, "- load of the machine when it began: %s\n", b.load)
	fmt.Fprintf(w, "- image: %s with %d packages, %d entries, a tar of %d MB in one gzip layer of %d MB\n",
		b.Suite, b.Packages, b.Entries, b.Bytes/1e6, b.Layer/1e6)
	if b.big != nil {
		fmt.Fprintf(w, "- ten roots: %d entries, a tar of %d MB in one gzip layer of %d MB\n", b.big.Entries, b.big.Bytes/1e6, b.big.Layer/1e6)
	}
	if u := b.kept.upgrade; u != nil {
		fmt.Fprintf(w, "- upgrade: %d packages as released, with manuals and translations, the kernel for virtual machines; %d of them changed since\n", u.Packages, u.Changed)
	}
	if b.dracut != nil {
		fmt.Fprintf(w, "- boots: the same root, with the kernel %s for both, in QEMU without KVM, processors: %d, memory: %d MiB; dracut %s\n",
			b.dracut.Kernel, guestProcessors, guestMemory, b.dracut.Version)
	}
	for _, s := range sections {
		markdownTable(w, s.title, s.results)
	}
	fmt.Fprint(w, howMeasured)
	if len(b.breakdown) > 0 {
		fmt.Fprint(w, "\n## Where the peer's time goes\n\n| step | CPU | wall | peak memory |\n|---|---|---|---|\n")
		for _, s := range b.breakdown {
			fmt.Fprintf(w, "| %s | %s | %s | %s |\n", s.Name, seconds.format(s.CPU), seconds.format(s.Wall), megabytes.format(float64(s.RSS)))
		}
	}
	if len(b.boots) > 0 {
		fmt.Fprint(w, "\n## Where the time of a boot goes\n\n| side | part | CPU, least | CPU, median | wall, least | wall, median |\n|---|---|---|---|---|---|\n")
		writeBoots(w, b.boots)
		fmt.Fprint(w, howBooted)
	}
	fmt.Fprint(w, "\n## Commands\n\n`bench` is `internal/bench` itself, in modes that run one part of abupdate alone.\n\n```\n")
	for _, line := range b.commands.list {
		fmt.Fprintln(w, line)
	}
	fmt.Fprint(w, "```\n")
}

const howMeasured = `
## How it is measured

Ours and the peer run in turns, and who comes first changes; figures are medians, the ratio is the median of the ratios of each two
runs, so it need not be that of the two figures beside it. CPU is user and system time of a command and all its children. Peak memory
is that of the largest single process. Temporary disk is the most that stood in files at once, those without a name too, less the
finished slot image; runs that are watched for it are not timed. The size of an image is that of its squashfs.

Before each run that reads, the image is mounted anew on a loop device and the kernel's caches are dropped.
`
