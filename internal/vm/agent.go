package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// An Event is what the guest's agent said of its own accord ("boot"), or what
// QEMU said of the guest ("qmp:RESET", "qmp:SHUTDOWN").
type Event struct {
	Name string
	Raw  json.RawMessage // the whole JSON object
}

// Decode fills the value that p points to.
func (e Event) Decode(p any) error {
	if err := json.Unmarshal(e.Raw, p); err != nil {
		return fmt.Errorf("decoding event %s: %w", e.Name, err)
	}
	return nil
}

// A Request asks the agent to run a program, or to do one of "reboot",
// "poweroff", "panic", "exit" and "hang", which have no answer.
type Request struct {
	ID    int      `json:"id,omitempty"`
	Run   []string `json:"run,omitempty"`
	Stdin string   `json:"stdin,omitempty"`
	Do    string   `json:"do,omitempty"`
}

// A Result is the agent's answer to a Request with Run.
type Result struct {
	ID     int    `json:"id"`
	Exit   int    `json:"exit"` // -1: not run, or ended by a signal; Stderr says why
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

// ErrReset is wrapped by the error of a Run that the guest's reset cut short.
var ErrReset = errors.New("the guest was reset")

type agent struct {
	sock io.ReadWriteCloser

	sending sync.Mutex // held while writing to sock, which may block

	mu      sync.Mutex
	events  []Event
	seen    int // Event looks from here on
	nextID  int
	answers map[int]chan Result
	changed chan struct{}
	ended   bool
}

func newAgent(sock *os.File) *agent {
	return &agent{sock: sock, answers: map[int]chan Result{}, changed: make(chan struct{})}
}

// read sorts the agent's lines. A line that a reboot cut in the middle is no
// JSON and is dropped; the agent starts with an empty line so that its first
// one is whole.
func (a *agent) read() {
	sc := bufio.NewScanner(a.sock)
	sc.Buffer(nil, 64<<20)
	for sc.Scan() {
		line := bytes.Clone(sc.Bytes())
		var head struct {
			Event string `json:"event"`
			Result
		}
		if json.Unmarshal(line, &head) != nil {
			continue
		}
		if head.Event != "" {
			a.add(Event{head.Event, line})
			continue
		}
		a.mu.Lock()
		if ch, ok := a.answers[head.ID]; ok {
			delete(a.answers, head.ID)
			ch <- head.Result
		}
		a.mu.Unlock()
	}
}

func (a *agent) add(e Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
	if e.Name == "qmp:RESET" {
		for id, ch := range a.answers {
			close(ch)
			delete(a.answers, id)
		}
	}
	a.notify()
}

func (a *agent) notify() {
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *agent) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	a.notify()
	a.sock.Close()
}

// Event waits for the next event called name, after what earlier calls
// returned. Events with other names before it are passed over.
func (v *VM) Event(ctx context.Context, name string) (Event, error) {
	a := v.agent
	for {
		a.mu.Lock()
		for i := a.seen; i < len(a.events); i++ {
			if a.events[i].Name == name {
				a.seen = i + 1
				e := a.events[i]
				a.mu.Unlock()
				return e, nil
			}
		}
		changed, ended := a.changed, a.ended
		a.mu.Unlock()
		if ended {
			return Event{}, fmt.Errorf("waiting for event %s: %w", name, ErrExited)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("waiting for event %s: %w", name, context.Cause(ctx))
		}
	}
}

// Events returns all events so far.
func (v *VM) Events() []Event {
	v.agent.mu.Lock()
	defer v.agent.mu.Unlock()
	return append([]Event(nil), v.agent.events...)
}

// Run runs a program in the guest and waits for its end. The guest must have
// said that it is up.
func (v *VM) Run(ctx context.Context, stdin string, args ...string) (Result, error) {
	a := v.agent
	ch := make(chan Result, 1)
	a.mu.Lock()
	a.nextID++
	id := a.nextID
	a.answers[id] = ch
	a.mu.Unlock()
	if err := a.send(Request{ID: id, Run: args, Stdin: stdin}); err != nil {
		return Result{}, err
	}
	select {
	case r, ok := <-ch:
		if !ok {
			return Result{}, fmt.Errorf("running %q in the guest: %w", args, ErrReset)
		}
		return r, nil
	case <-v.done:
		return Result{}, fmt.Errorf("running %q in the guest: %w", args, ErrExited)
	case <-ctx.Done():
		return Result{}, fmt.Errorf("running %q in the guest: %w", args, context.Cause(ctx))
	}
}

// Begin starts a program in the guest and does not wait for it.
func (v *VM) Begin(args ...string) error {
	return v.agent.send(Request{ID: -1, Run: args})
}

// Do tells the agent to reboot, poweroff, panic, exit or hang.
func (v *VM) Do(what string) error { return v.agent.send(Request{Do: what}) }

func (a *agent) send(r Request) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding request: %w", err)
	}
	a.sending.Lock()
	defer a.sending.Unlock()
	if _, err := a.sock.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("sending request to the guest: %w", err)
	}
	return nil
}
