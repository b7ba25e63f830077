package updater

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/abupdate/abupdate/internal/fault"
)

// A Batch is several images to build, some of them at the same time.
type Batch struct {
	Refs []string
	// Jobs is how many are built at the same time; 0 is DefaultJobs.
	Jobs int
	// Options are those of every image. Ref is not used; Tag and Push hold a
	// field (see Fields) that tells the updates apart. An empty Tag does.
	Options BuildOptions
	// Done, if not nil, is told of each image as soon as it is finished, by
	// one goroutine at a time.
	Done func(Outcome)
}

// An Outcome is what became of one image of a Batch.
type Outcome struct {
	Ref   string
	Built *Built // nil after an error
	Err   error
}

// DefaultJobs is how many of n images are built at the same time: one keeps
// about two processors busy.
func DefaultJobs(n int) int { return max(1, min(n, runtime.GOMAXPROCS(0)/2)) }

// BuildAll builds the images and returns what became of each, in their order.
// One that fails does not stop the others. The error is about the Batch itself;
// nothing was built then.
func BuildAll(ctx context.Context, b Batch) ([]Outcome, Usage, error) {
	if err := b.check(); err != nil {
		return nil, Usage{}, err
	}
	jobs := min(b.Jobs, len(b.Refs))
	if jobs == 0 {
		jobs = DefaultJobs(len(b.Refs))
	}
	opt := b.Options
	opt.alone, opt.names = jobs == 1, new(names)
	if opt.Source.Squashfs.Workers == 0 { // they share the processors
		opt.Source.Squashfs.Workers = max(1, (runtime.GOMAXPROCS(0)+jobs-1)/jobs)
	}
	start := startUsage()
	outcomes := make([]Outcome, len(b.Refs))
	queue := make(chan int)
	var wait sync.WaitGroup
	var mu sync.Mutex // of Done and of progress
	for range jobs {
		wait.Go(func() {
			for i := range queue {
				o := opt.of(b.Refs[i], &mu)
				built, err := Build(ctx, o)
				if err != nil && !strings.Contains(err.Error(), o.Ref) {
					err = fmt.Errorf("building %s: %w", o.Ref, err)
				}
				mu.Lock()
				outcomes[i] = Outcome{Ref: b.Refs[i], Built: built, Err: err}
				if b.Done != nil {
					b.Done(outcomes[i])
				}
				mu.Unlock()
			}
		})
	}
	for i := range b.Refs {
		queue <- i
	}
	close(queue)
	wait.Wait()
	return outcomes, start.since(), nil
}

// of returns the options of one of several images.
func (opt BuildOptions) of(ref string, mu *sync.Mutex) BuildOptions {
	opt.Ref = ref
	if report := opt.Progress; report != nil {
		opt.Progress = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			e.Image = ref
			report(e)
		}
	}
	return opt
}

// check refuses what would let one update take the place of another.
func (b Batch) check() error {
	seen := make(map[string]bool)
	for _, ref := range b.Refs {
		if seen[ref] {
			return fault.Errorf(fault.Usage, "image %s is given twice", ref)
		}
		seen[ref] = true
	}
	if b.Jobs < 0 {
		return fault.Errorf(fault.Usage, "%d jobs: at least one is needed", b.Jobs)
	}
	if len(b.Refs) == 1 {
		return nil
	}
	if b.Options.nowhere() {
		return errNowhere
	}
	if b.Options.Raw != "" {
		return fault.Errorf(fault.Usage, "--raw %s: one file cannot hold %d images", b.Options.Raw, len(b.Refs))
	}
	if b.Options.Source.Version != "" {
		return fault.Errorf(fault.Usage, "--version %s: %d images cannot all have it", b.Options.Source.Version, len(b.Refs))
	}
	for flag, value := range map[string]string{"--tag": b.Options.Tag, "--push": b.Options.Push} {
		if err := checkFields(flag, value); err != nil {
			return err
		}
		if value != "" && !hasField(value) {
			return fault.Errorf(fault.Usage, "%s %s: it names one update; for %d images it needs one of %s", flag, value, len(b.Refs), Fields)
		}
	}
	return nil
}

// names are the outputs that the images of a Batch have taken.
type names struct {
	mu    sync.Mutex
	taken map[string]string // reference of the image by output
}

// take refuses an output that another image has. A nil names takes anything.
func (n *names) take(output, ref string) error {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if other, ok := n.taken[output]; ok {
		return fault.Errorf(fault.Usage, "%s is the update of %s already; --tag and --push take %s", output, other, Fields)
	}
	if n.taken == nil {
		n.taken = make(map[string]string)
	}
	n.taken[output] = ref
	return nil
}

// Usage is what a piece of work took.
type Usage struct {
	Wall time.Duration
	CPU  time.Duration // of the whole process
}

// String prints both in seconds.
func (u Usage) String() string {
	return fmt.Sprintf("%.1f s, %.1f s of processor time", u.Wall.Seconds(), u.CPU.Seconds())
}
