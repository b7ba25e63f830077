package vm

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
)

// A qmp is QEMU's control socket. Commands are sent one at a time.
type qmp struct {
	sock    io.ReadWriteCloser
	greeted chan struct{}
	answers chan json.RawMessage // error object, or nil
	ended   chan struct{}
	mu      sync.Mutex
}

func newQMP(sock *os.File) *qmp {
	return &qmp{sock: sock, greeted: make(chan struct{}), answers: make(chan json.RawMessage, 1), ended: make(chan struct{})}
}

func (q *qmp) read(event func(Event)) {
	defer close(q.ended)
	sc := bufio.NewScanner(q.sock)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line := bytes.Clone(sc.Bytes())
		var m struct {
			QMP, Return, Error json.RawMessage
			Event              string
		}
		if json.Unmarshal(line, &m) != nil {
			continue
		}
		switch {
		case m.QMP != nil:
			close(q.greeted)
		case m.Event != "":
			event(Event{"qmp:" + m.Event, line})
		case m.Return != nil || m.Error != nil:
			select {
			case q.answers <- m.Error:
			default: // the answer to a command that was given up
			}
		}
	}
}

func (q *qmp) handshake(ctx context.Context) error {
	select {
	case <-q.greeted:
	case <-q.ended:
		return ErrExited
	case <-ctx.Done():
		return fmt.Errorf("waiting for QEMU: %w", context.Cause(ctx))
	}
	return q.do(ctx, "qmp_capabilities")
}

func (q *qmp) do(ctx context.Context, command string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-q.answers: // to a command that was given up
	default:
	}
	if _, err := fmt.Fprintf(q.sock, "{\"execute\":%q}\n", command); err != nil {
		return fmt.Errorf("asking QEMU to %s: %w", command, ErrExited)
	}
	select {
	case e := <-q.answers:
		if e != nil {
			return fmt.Errorf("asking QEMU to %s: %s", command, e)
		}
		return nil
	case <-q.ended:
		return fmt.Errorf("asking QEMU to %s: %w", command, ErrExited)
	case <-ctx.Done():
		return fmt.Errorf("asking QEMU to %s: %w", command, context.Cause(ctx))
	}
}

func (q *qmp) close() { q.sock.Close() }
