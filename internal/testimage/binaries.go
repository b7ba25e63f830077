package testimage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// Binaries are the project's own programs, as files.
type Binaries struct {
	Abupdate, Abinit, Guest string
}

// BuildBinaries returns the programs in $ABUPDATE_BIN, or builds them into the
// cache.
func BuildBinaries(ctx context.Context) (Binaries, error) {
	if dir := os.Getenv("ABUPDATE_BIN"); dir != "" {
		dir, err := filepath.Abs(dir)
		return in(dir), err
	}
	cache, err := CacheDir()
	if err != nil {
		return Binaries{}, err
	}
	root, err := repoRoot()
	if err != nil {
		return Binaries{}, fmt.Errorf("building programs: %w", err)
	}
	dir := filepath.Join(cache, "bin")
	unlock, err := lock(dir)
	if err != nil {
		return Binaries{}, err
	}
	defer unlock()
	_, err = command(ctx, root, "env", "CGO_ENABLED=0", "go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w",
		"-o", dir+"/", "./cmd/abupdate", "./cmd/abinit", "./qemu-tests/guest")
	if err != nil {
		return Binaries{}, fmt.Errorf("building programs: %w", err)
	}
	return in(dir), nil
}

func in(dir string) Binaries {
	return Binaries{
		Abupdate: filepath.Join(dir, "abupdate"),
		Abinit:   filepath.Join(dir, "abinit"),
		Guest:    filepath.Join(dir, "guest"),
	}
}
