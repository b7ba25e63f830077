// Command bench measures abupdate against the tools that do the same today, on
// a real Debian system that it makes, and prints a table of both:
//
//	go run ./internal/bench                    everything
//	go run ./internal/bench -list              the names of the rows
//	go run ./internal/bench -rows cpu,tree     only these
//	go run ./internal/bench -o docs/benchmarks.md
//
// It is for Debian on x86-64. Nothing fails because it is slow: the exit code
// tells only whether everything ran.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if found, err := mode(os.Args[1:]); found {
		exit(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := runBench(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type options struct {
	rows, page, cache, abupdate string
	rounds                      int
	list                        bool
}

func parseFlags(args []string, stderr io.Writer) (o options, err error) {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.rows, "rows", "", "`names` of the rows to measure, separated by commas; default all")
	fs.StringVar(&o.page, "o", "", "`file` to write the page to")
	fs.StringVar(&o.cache, "cache", ".cache/bench", "`folder` for the images; also worked in")
	fs.StringVar(&o.abupdate, "abupdate", "bin/abupdate", "the `program` to measure")
	fs.IntVar(&o.rounds, "rounds", 0, "how often ours and the peer run; default what suits each row")
	fs.BoolVar(&o.list, "list", false, "print the names of the rows")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	return o, nil
}

func runBench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseFlags(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	all := tables()
	if o.list {
		for _, t := range all {
			for _, r := range t.rows {
				fmt.Fprintf(stdout, "%s\t%s\n", r.name, r.what)
			}
		}
		return nil
	}
	chosen, err := choose(all, o.rows)
	if err != nil {
		return err
	}
	return measureAll(ctx, o, chosen, stdout, stderr)
}

// choose keeps the rows that are named, all of them for "".
func choose(all []table, names string) ([]table, error) {
	if names == "" {
		return all, nil
	}
	want := strings.Split(names, ",")
	found := map[string]bool{}
	var chosen []table
	for _, t := range all {
		t.rows = slices.DeleteFunc(slices.Clone(t.rows), func(r row) bool {
			found[r.name] = found[r.name] || slices.Contains(want, r.name)
			return !slices.Contains(want, r.name)
		})
		if len(t.rows) > 0 {
			chosen = append(chosen, t)
		}
	}
	for _, name := range want {
		if !found[name] {
			return nil, fmt.Errorf("there is no row %q; -list prints all", name)
		}
	}
	return chosen, nil
}

func measureAll(ctx context.Context, o options, chosen []table, stdout, stderr io.Writer) error {
	b, err := open(ctx, o, stderr)
	if err != nil {
		return err
	}
	defer b.close()
	sections, failed := b.sections(ctx, chosen)
	for _, s := range sections {
		if err := printTable(stdout, s.title, s.results); err != nil {
			return err
		}
	}
	if ctx.Err() != nil { // what there is was printed; the page stays as it was
		return context.Cause(ctx)
	}
	if o.page == "" {
		return failed
	}
	var page strings.Builder
	writePage(&page, b, sections, time.Now())
	return errors.Join(failed, os.WriteFile(o.page, []byte(page.String()), 0o644))
}

// sections measures rows until it is interrupted. What only root can measure
// is no failure.
func (b *bench) sections(ctx context.Context, chosen []table) (sections []section, failed error) {
	for _, t := range chosen {
		s := section{title: t.title}
		for _, r := range t.rows {
			res := b.result(ctx, r)
			if ctx.Err() != nil {
				return append(sections, s), failed
			}
			if res.err != nil && !errors.Is(res.err, errNeedsRoot) {
				failed = errors.Join(failed, fmt.Errorf("row %s: %w", r.name, res.err))
			}
			s.results = append(s.results, res)
		}
		sections = append(sections, s)
	}
	return sections, failed
}

// open gets everything ready that is not measured.
func open(ctx context.Context, o options, log io.Writer) (*bench, error) {
	abupdate, err := filepath.Abs(o.abupdate)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(abupdate); err != nil {
		return nil, fmt.Errorf("finding the program to measure (make build): %w", err)
	}
	cache, err := filepath.Abs(o.cache)
	if err != nil {
		return nil, err
	}
	b := &bench{abupdate: abupdate, rounds: o.rounds, log: log, done: map[*experiment]outcome{}, load: load(readText("/proc/loadavg"))}
	if b.lock, err = lock(cache); err != nil {
		return nil, err
	}
	if b.fixture, err = openFixture(ctx, cache, log); err == nil {
		b.work, err = workDir(cache)
	}
	if err != nil {
		b.lock.Close()
		return nil, err
	}
	return b, nil
}

// lock keeps the folder to one bench at a time.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s (is another bench at work?): %w", f.Name(), err)
	}
	return f, nil
}

// workDir makes the folder to work in, and removes what killed runs left.
func workDir(dir string) (string, error) {
	old, err := filepath.Glob(filepath.Join(dir, "work-*"))
	if err != nil {
		return "", err
	}
	for _, d := range old {
		_ = unix.Unmount(filepath.Join(d, "mnt"), unix.MNT_DETACH) // in case
		if err := os.RemoveAll(d); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(dir, "work-")
}

func (b *bench) close() {
	if err := os.RemoveAll(b.work); err != nil {
		fmt.Fprintln(b.log, err)
	}
	b.lock.Close()
}
