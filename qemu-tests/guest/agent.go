package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	portName   = "abupdate.agent"
	bootedPath = "/run/abupdate/boot.json"
)

// A request is internal/vm's Request.
type request struct {
	ID    int      `json:"id"`
	Run   []string `json:"run"`
	Stdin string   `json:"stdin"`
	Do    string   `json:"do"`
}

type result struct {
	ID     int    `json:"id"`
	Exit   int    `json:"exit"`
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
}

// A bootEvent says what came up.
type bootEvent struct {
	Event   string          `json:"event"`
	Slot    string          `json:"slot"`
	Version string          `json:"version"` // from os-release
	Mode    string          `json:"mode,omitempty"`
	Uptime  float64         `json:"uptime"`           // seconds since the kernel started
	Booted  json.RawMessage `json:"booted,omitempty"` // boot.json as abinit wrote it
}

type agent struct {
	port *os.File
	mu   sync.Mutex // held while writing
}

// openAgent waits a little for the port: its driver may be loading.
func openAgent() (*agent, error) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		dev, err := findPort("/sys/class/virtio-ports")
		if err == nil {
			var f *os.File
			if f, err = os.OpenFile(dev, os.O_RDWR, 0); err == nil {
				return &agent{port: f}, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("opening port %s: %w", portName, err)
		}
	}
}

func findPort(sys string) (string, error) {
	names, err := filepath.Glob(sys + "/*/name")
	if err != nil {
		return "", err
	}
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && strings.TrimSpace(string(b)) == portName {
			return "/dev/" + filepath.Base(filepath.Dir(n)), nil
		}
	}
	return "", errors.New("no such virtio port")
}

// announce sends the boot event, after an empty line that ends whatever a
// reset cut off.
func (a *agent) announce(mode string) error {
	e := bootEvent{Event: "boot", Version: osVersion("/etc/os-release"), Mode: mode}
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
		e.Uptime = float64(ts.Nano()) / 1e9
	}
	if b, err := os.ReadFile(bootedPath); err == nil {
		e.Booted = b
		var s struct{ Slot string }
		if err := json.Unmarshal(b, &s); err == nil {
			e.Slot = s.Slot
		}
	}
	a.write([]byte("\n"))
	return a.send(e)
}

func osVersion(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	vars := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		vars[k] = strings.Trim(v, `"`)
	}
	for _, k := range []string{"IMAGE_VERSION", "VERSION_ID"} {
		if vars[k] != "" {
			return vars[k]
		}
	}
	return ""
}

// serve carries out requests until the port ends. Programs run at the same
// time, so that a long one can be cut short by "panic".
func (a *agent) serve() error {
	r := bufio.NewReader(a.port)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			// No host is connected.
			time.Sleep(100 * time.Millisecond)
			continue
		}
		if err != nil {
			return fmt.Errorf("reading from the host: %w", err)
		}
		var req request
		if err := json.Unmarshal(line, &req); err != nil {
			return fmt.Errorf("reading from the host: %w", err)
		}
		if req.Do != "" {
			go act(req.Do)
			continue
		}
		go a.answer(req)
	}
}

func (a *agent) answer(req request) {
	res := result{ID: req.ID}
	if len(req.Run) == 0 {
		res.Exit, res.Stderr = -1, "nothing to run"
	} else {
		var out, errOut bytes.Buffer
		cmd := exec.Command(req.Run[0], req.Run[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(req.Stdin), &out, &errOut
		err := cmd.Run()
		res.Stdout, res.Stderr = out.String(), errOut.String()
		if ps := cmd.ProcessState; ps != nil {
			res.Exit = ps.ExitCode()
		}
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && (!exited || res.Exit < 0) {
			res.Exit, res.Stderr = -1, res.Stderr+err.Error()
		}
	}
	if err := a.send(res); err != nil {
		fmt.Fprintf(os.Stderr, "guest: %v\n", err)
	}
}

func (a *agent) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding for the host: %w", err)
	}
	return a.write(append(b, '\n'))
}

func (a *agent) write(b []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.port.Write(b); err != nil {
		return fmt.Errorf("writing to the host: %w", err)
	}
	return nil
}
