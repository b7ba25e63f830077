package oci

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/internal/wire"
	"github.com/cavaliergopher/grab/v3"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// fetch downloads one blob into dir and goes on where the connection broke, as long as
// each try brings it further.
func fetch(ctx context.Context, dir string, via route, url string, desc v1.Descriptor, progress *blobMeter) (*os.File, error) {
	path := filepath.Join(dir, desc.Digest.Hex)
	tries := via.wire.Tries()
	ctx = wire.WithTries(ctx, tries)
	for best := int64(-1); ; {
		resumed, err := download(ctx, via.client, url, path, desc, progress)
		if err == nil {
			return takeFile(path)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		size := fileSize(path)
		wrong := isWrongBlob(err)
		err = via.classify(err, resumed, desc, size)
		switch {
		case retriable(err):
		case wrong && tries.Distrust(ctx, err):
			best = -1
			continue
		default:
			return nil, err
		}
		if size > best {
			best = size
			tries.Progress()
		}
		if !tries.Again(ctx, err) {
			return nil, err
		}
	}
}

// download makes one try. What a broken one left in path is gone on from when the
// server can do that.
func download(ctx context.Context, client *http.Client, url, path string, desc v1.Descriptor, progress *blobMeter) (resumed bool, err error) {
	req, err := grab.NewRequest(path, url)
	if err != nil {
		return false, err
	}
	h, err := v1.Hasher(desc.Digest.Algorithm)
	if err != nil {
		return false, err
	}
	want, err := hex.DecodeString(desc.Digest.Hex)
	if err != nil {
		return false, err
	}
	req.Size = desc.Size
	req.IgnoreRemoteTime = true
	req.NoCreateDirectories = true
	req.BufferSize = 128 << 10
	req.SetChecksum(h, want, true)
	req.RateLimiter = progress
	gc := &grab.Client{HTTPClient: closedRanges{client, desc.Size}, UserAgent: userAgent}
	resp := gc.Do(req.WithContext(ctx))
	err = resp.Err()
	return resp.DidResume, err
}

// closedRanges gives an end to the range that grab leaves open: some registries
// answer 416 to an open one.
type closedRanges struct {
	client *http.Client
	size   int64
}

func (c closedRanges) Do(req *http.Request) (*http.Response, error) {
	if r := req.Header.Get("Range"); strings.HasSuffix(r, "-") {
		req.Header.Set("Range", r+strconv.FormatInt(c.size-1, 10))
	}
	resp, err := c.client.Do(req)
	if err == nil { // an answer that does not say its length ends some time
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, c.size+1), resp.Body}
	}
	return resp, err
}

// isWrongBlob says whether all came, and was not what was wanted.
func isWrongBlob(err error) bool {
	return errors.Is(err, grab.ErrBadChecksum) || errors.Is(err, grab.ErrBadLength)
}

// classify turns an error of grab's into one that names the blob.
func (r route) classify(err error, resumed bool, desc v1.Descriptor, size int64) error {
	var status grab.StatusCodeError
	wrong := isWrongBlob(err)
	switch {
	case wrong && resumed:
		return &temporaryError{fault.Errorf(fault.Verify, "blob %v: resuming: %w", desc.Digest, err)}
	case wrong:
		return fault.Errorf(fault.Verify, "blob %v: %w", desc.Digest, err)
	case errors.As(err, &status):
		return r.classifyStatus(int(status), resumed, desc)
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, os.ErrPermission):
		return spoolError(err)
	}
	return &temporaryError{fault.Errorf(fault.Network, "blob %v: transfer broke at byte %d of %d: %w", desc.Digest, max(size, 0), desc.Size, noEOF(err))}
}

func (r route) classifyStatus(code int, resumed bool, desc v1.Descriptor) error {
	if code == http.StatusRequestedRangeNotSatisfiable && resumed {
		return &temporaryError{fault.Errorf(fault.Network, "blob %v: the %s does not resume", desc.Digest, r.place)}
	}
	return r.statusError(code, desc)
}

// takeFile opens a finished download and takes its name away.
func takeFile(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, spoolError(err)
	}
	if err := os.Remove(path); err != nil {
		f.Close()
		return nil, spoolError(err)
	}
	return f, nil
}

func fileSize(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return -1
	}
	return fi.Size()
}
