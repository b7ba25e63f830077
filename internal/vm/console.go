package vm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"sync"
)

// A console is the guest's serial line. All output is kept: a guest's whole
// life is some hundred kilobytes.
type console struct {
	in  io.WriteCloser
	log *os.File // nil: none

	mu      sync.Mutex
	out     []byte
	seen    int // Expect looks from here on
	changed chan struct{}
	ended   bool
}

func newConsole(log string, in io.WriteCloser) (*console, error) {
	c := &console{in: in, changed: make(chan struct{})}
	if log != "" {
		f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
		if err != nil {
			return nil, fmt.Errorf("opening console log: %w", err)
		}
		c.log = f
	}
	return c, nil
}

func (c *console) read(r io.Reader) {
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if c.log != nil {
				c.log.Write(buf[:n]) //nolint:errcheck // a help for people only
			}
			c.mu.Lock()
			c.out = append(c.out, bytes.ReplaceAll(buf[:n], []byte("\r"), nil)...)
			c.notify()
			c.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// notify wakes all waiters; the caller holds mu.
func (c *console) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.notify()
	c.in.Close()
	if c.log != nil {
		c.log.Close()
	}
}

// Expect waits until the console shows what re matches, after what earlier
// calls matched, and returns the match and its groups.
func (v *VM) Expect(ctx context.Context, re *regexp.Regexp) ([]string, error) {
	c := v.console
	for {
		c.mu.Lock()
		if m := re.FindSubmatchIndex(c.out[c.seen:]); m != nil {
			got := groups(c.out[c.seen:], m)
			c.seen += m[1]
			c.mu.Unlock()
			return got, nil
		}
		changed, ended := c.changed, c.ended
		c.mu.Unlock()
		if ended {
			return nil, fmt.Errorf("waiting for %q on the console: %w", re, ErrExited)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %q on the console: %w", re, context.Cause(ctx))
		}
	}
}

func groups(b []byte, m []int) []string {
	var got []string
	for i := 0; i < len(m); i += 2 {
		s := ""
		if m[i] >= 0 {
			s = string(b[m[i]:m[i+1]])
		}
		got = append(got, s)
	}
	return got
}

// Type sends keystrokes to the console.
func (v *VM) Type(keys string) error {
	if _, err := io.WriteString(v.console.in, keys); err != nil {
		return fmt.Errorf("typing on the console: %w", err)
	}
	return nil
}

// Console returns everything that was printed so far.
func (v *VM) Console() string {
	v.console.mu.Lock()
	defer v.console.mu.Unlock()
	return string(v.console.out)
}
