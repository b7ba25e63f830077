// Package fault sorts errors into the kinds that a caller of abupdate can act
// on. Each kind has one exit code of the command line (docs/cli.md).
package fault

import (
	"context"
	"errors"
	"fmt"
	"syscall"
)

// A Kind is a class of failure; its value is the process exit code.
type Kind int

// The kinds, in the order of their exit codes.
const (
	Other      Kind = 1   // anything without a kind of its own
	Usage      Kind = 2   // the command was called wrongly
	Network    Kind = 3   // a registry or server did not answer, or not as it should
	Verify     Kind = 4   // a digest, hash or signature does not match
	NoRoom     Kind = 5   // a slot, disk or spool is too small
	Refused    Kind = 6   // the state of the device forbids it
	NotGranted Kind = 7   // a reboot lock was not granted
	Busy       Kind = 8   // another abupdate is running, or the slot is in use
	Fallback   Kind = 10  // the system runs on a fallback
	Nothing    Kind = 77  // there is nothing to do
	Canceled   Kind = 130 // interrupted
)

type kindError struct {
	kind Kind
	err  error
}

func (e *kindError) Error() string { return e.err.Error() }
func (e *kindError) Unwrap() error { return e.err }

// Errorf makes an error of the given kind; %w works as in fmt.Errorf.
func Errorf(kind Kind, format string, args ...any) error {
	return &kindError{kind, fmt.Errorf(format, args...)}
}

// Wrap gives err a kind; an error that already has one keeps it. Wrap(k, nil)
// is nil.
func Wrap(kind Kind, err error) error {
	if err == nil {
		return nil
	}
	var k *kindError
	if errors.As(err, &k) {
		return err
	}
	return &kindError{kind, err}
}

// KindOf returns the kind of err: the outermost one given by Errorf or Wrap,
// Canceled for a canceled context, NoRoom for a full file system, Network for
// an error of package net, else Other. KindOf(nil) is 0.
func KindOf(err error) Kind {
	if err == nil {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		return Canceled
	}
	var k *kindError
	if errors.As(err, &k) {
		return k.kind
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return NoRoom
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return Usage // a path that somebody gave goes through a file
	}
	var n interface { // net.Error; package net is not for PID 1
		error
		Timeout() bool
		Temporary() bool
	}
	if errors.As(err, &n) {
		if _, bare := n.(syscall.Errno); !bare { // an Errno has net.Error's methods
			return Network
		}
	}
	return Other
}
