package fault_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/abupdate/abupdate/internal/fault"
)

func TestKindOf(t *testing.T) {
	refused := fault.Errorf(fault.Refused, "slot b is denied")
	for _, tt := range []struct {
		name string
		err  error
		want fault.Kind
	}{
		{"no error", nil, 0},
		{"plain error", errors.New("x"), fault.Other},
		{"given kind", refused, fault.Refused},
		{"given kind, wrapped with context", fmt.Errorf("applying: %w", refused), fault.Refused},
		{"first kind stays", fault.Wrap(fault.Network, refused), fault.Refused},
		{"wrapped nil", fault.Wrap(fault.Network, nil), 0},
		{"network error", &net.OpError{Op: "dial", Err: errors.New("refused")}, fault.Network},
		{"disk full", &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, fault.NoRoom},
		{"a file for a folder", &os.PathError{Op: "open", Path: "file/x", Err: syscall.ENOTDIR}, fault.Usage},
		{"disk error", &os.PathError{Op: "write", Path: "x", Err: syscall.EIO}, fault.Other},
		{"network error with an errno", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, fault.Network},
		{"canceled beats the kind", fault.Errorf(fault.Network, "reading: %w", context.Canceled), fault.Canceled},
	} {
		if got := fault.KindOf(tt.err); got != tt.want {
			t.Errorf("%s: KindOf(%v) = %d; want %d", tt.name, tt.err, got, tt.want)
		}
	}
}
