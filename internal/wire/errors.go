package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Permanent marks an error that no further try will make go away.
func Permanent(err error) error { return &permanentError{err} }

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

// temporary reports whether a request that failed may go well another time:
// networks recover from nearly everything, but a certificate stays as it is.
func temporary(err error) bool {
	var (
		permanent *permanentError
		untrusted *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		clock     x509.CertificateInvalidError
	)
	switch {
	case errors.Is(err, context.Canceled), errors.As(err, &permanent), errors.Is(err, http.ErrSchemeMismatch):
		return false
	case errors.As(err, &clock) && clock.Reason == x509.Expired:
		return true // this device's clock may be what is wrong, until it is set
	}
	return !errors.As(err, &untrusted) && !errors.As(err, &record) && !errors.As(err, &alert)
}

// explain says of a certificate out of its time what this device thinks the
// time is.
func explain(err error, now time.Time) error {
	var clock x509.CertificateInvalidError
	if errors.As(err, &clock) && clock.Reason == x509.Expired {
		return fmt.Errorf("%w (the clock of this device says %s)", err, now.UTC().Format(time.DateOnly))
	}
	return err
}

// Temporary reports whether a server that answers with this status may answer
// with another one later.
func Temporary(status int) bool {
	switch status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter returns how long a server wants to be left alone. A date counts
// from the server's own: this device's clock may be wrong by decades.
func retryAfter(h http.Header) time.Duration {
	s := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return time.Duration(n) * time.Second
	}
	until, err := http.ParseTime(s)
	if err != nil {
		return 0
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return max(0, until.Sub(date))
}
