package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sampleEvery is how often diskPeak looks. Looking takes processor time, so
// runs whose disk is measured do not count as runs for anything else.
const sampleEvery = 100 * time.Millisecond

// measureDisk runs a command and finds the most that it and its children had
// in files of dir at any time, also in files without a name.
func measureDisk(ctx context.Context, c command, dir string) (usage, error) {
	p, err := start(ctx, c)
	if err != nil {
		return usage{}, err
	}
	done := make(chan struct{})
	peak := make(chan int64)
	go func() {
		var most int64
		for tick := time.NewTicker(sampleEvery); ; {
			most = max(most, inFiles(dir)+inNameless(p.cmd.Process.Pid))
			select {
			case <-tick.C:
			case <-done:
				peak <- max(most, inFiles(dir))
				return
			}
		}
	}()
	u, err := p.wait()
	close(done)
	u.Disk = <-peak
	return u, err
}

// inFiles adds up what the regular files below dir take on disk. Files come
// and go meanwhile.
func inFiles(dir string) int64 {
	var sum int64
	seen := map[uint64]bool{}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil && !seen[st.Ino] {
			seen[st.Ino] = st.Nlink > 1
			sum += st.Blocks * 512
		}
		return nil
	})
	return sum
}

// inNameless adds up what open files without a name take, of all processes of
// a session.
func inNameless(session int) int64 {
	var sum int64
	procs, _ := filepath.Glob("/proc/[0-9]*")
	seen := map[uint64]bool{}
	for _, proc := range procs {
		b, err := os.ReadFile(proc + "/stat")
		if err != nil || sessionOf(string(b)) != session {
			continue
		}
		fds, _ := filepath.Glob(proc + "/fd/*")
		for _, fd := range fds {
			var st unix.Stat_t
			if unix.Stat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 0 && !seen[st.Ino] && !inMemory(fd) {
				seen[st.Ino] = true
				sum += st.Blocks * 512
			}
		}
	}
	return sum
}

// inMemory says whether an open file is a memfd, which is memory and no disk.
func inMemory(fd string) bool {
	name, err := os.Readlink(fd)
	return err == nil && strings.HasPrefix(name, "/memfd:")
}

// sessionOf finds the session in a /proc/PID/stat; the name of the program,
// in parentheses, may hold anything.
func sessionOf(stat string) int {
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 4 {
		return -1
	}
	n, err := strconv.Atoi(f[3])
	if err != nil {
		return -1
	}
	return n
}

// dropCaches makes the next read one from the disk.
func dropCaches() error {
	unix.Sync()
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
		return fmt.Errorf("dropping caches: %w", err)
	}
	return nil
}

// errNeedsRoot is the result of what only root can measure.
var errNeedsRoot = errors.New("needs root")

func needRoot() error {
	if os.Geteuid() != 0 {
		return errNeedsRoot
	}
	return nil
}
