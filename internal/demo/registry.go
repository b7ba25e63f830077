package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// registryInGuest is where QEMU's network shows the registry to the guest.
const registryInGuest = "10.0.2.100:5000"

// repository is what the device's configuration names, with the tag that the
// publisher moves.
const (
	repository = "device/debian"
	stable     = "stable"
)

// A registry serves images on loopback; its blobs lie in a folder that goes
// with it.
type registry struct {
	addr   string
	dir    string
	server *http.Server
	served chan error
}

func startRegistry(parent string) (*registry, error) {
	dir := filepath.Join(parent, "registry")
	// One may be left of a demo that was killed.
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("starting registry: %w", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("starting registry: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("starting registry: %w", err)
	}
	handler := ggcr.New(ggcr.WithBlobHandler(ggcr.NewDiskBlobHandler(dir)), ggcr.Logger(log.New(io.Discard, "", 0)))
	r := &registry{addr: l.Addr().String(), dir: dir, server: &http.Server{Handler: handler}, served: make(chan error, 1)}
	go func() { r.served <- r.server.Serve(l) }()
	return r, nil
}

// publish pushes an image and gives it further tags.
func (r *registry) publish(ctx context.Context, img v1.Image, tags ...string) error {
	for _, tag := range tags {
		ref, err := name.ParseReference(r.addr+"/"+repository+":"+tag, name.Insecure)
		if err != nil {
			return fmt.Errorf("publishing: %w", err)
		}
		if err := remote.Write(ref, img, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("publishing %s: %w", ref, err)
		}
	}
	return nil
}

func (r *registry) close() error {
	err := r.server.Close()
	if served := <-r.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return errors.Join(err, os.RemoveAll(r.dir))
}
