package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A place is where runRandread reads.
type place struct {
	off  int64
	path string
}

func (p place) String() string { return fmt.Sprintf("%d %s\n", p.off, p.path) }

func (p *place) parse(line string) error {
	off, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	n, err := strconv.ParseInt(off, 10, 64)
	if err != nil || !ok {
		return fmt.Errorf("reading list of places: %q is none", line)
	}
	*p = place{n, name}
	return nil
}

// A sized is a regular file.
type sized struct {
	path string
	size int64
}

// pick takes n places out of files, every 4 KiB of them with equal chance and
// always the same.
func pick(files []sized, n int) []place {
	const block = 4096
	ends := make([]int64, len(files)) // blocks up to and with file i
	var blocks int64
	for i, f := range files {
		blocks += (f.size + block - 1) / block
		ends[i] = blocks
	}
	if blocks == 0 {
		return nil
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	places := make([]place, n)
	for k := range places {
		b := rnd.Int64N(blocks)
		i, _ := slices.BinarySearch(ends, b+1)
		first := ends[i] - (files[i].size+block-1)/block
		places[k] = place{(b - first) * block, files[i].path}
	}
	return places
}

// regularFiles lists those of a tar.
func regularFiles(tarFile string) ([]sized, error) {
	f, err := os.Open(tarFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var files []sized
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing files of %s: %w", tarFile, err)
		}
		if h.Typeflag == tar.TypeReg && !strings.Contains(h.Name, "\n") {
			files = append(files, sized{path.Clean(h.Name), h.Size})
		}
	}
}

// writePlaces writes a list for runRandread.
func writePlaces(file, tarFile string, n int) error {
	files, err := regularFiles(tarFile)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, p := range pick(files, n) {
		b.WriteString(p.String())
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
