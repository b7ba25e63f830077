package initramfs

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/abupdate/abupdate/recovery"
)

// consoles are all consoles of the kernel at once: what is written goes to
// each, what is typed comes from any. The terminals are raw while in use, so
// that a single key is seen; lines are edited by package recovery.
type consoles struct {
	ttys []tty
	keys chan byte
}

type tty struct {
	f     *os.File
	saved *unix.Termios // nil: not a terminal
}

func (m *machine) Console() recovery.Console { return m.openConsoles() }

func (m *machine) openConsoles() *consoles {
	if m.consoles != nil {
		return m.consoles
	}
	active, _ := readFile("/sys/class/tty/console/active")
	names := strings.Fields(string(active))
	if len(names) == 0 {
		names = []string{"console"}
	}
	m.consoles = &consoles{keys: make(chan byte, 64)}
	for _, name := range names {
		m.consoles.open("/dev/" + name)
	}
	return m.consoles
}

func (c *consoles) open(path string) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return // a console without a device: there may be others
	}
	t := tty{f: f}
	control(f, func(fd int) {
		old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err != nil {
			return
		}
		raw := *old
		raw.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
		raw.Iflag &^= unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST // what is written says \r\n itself
		raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
		if unix.IoctlSetTermios(fd, unix.TCSETS, &raw) == nil {
			t.saved = old
		}
	})
	c.ttys = append(c.ttys, t)
	if t.saved != nil {
		go c.read(f)
	}
}

// read passes typed bytes on until the console is closed; what nobody asks
// for is dropped.
func (c *consoles) read(f *os.File) {
	b := make([]byte, 16)
	for {
		n, err := f.Read(b)
		for _, key := range b[:n] {
			select {
			case c.keys <- key:
			default:
			}
		}
		if err != nil || n == 0 {
			return
		}
	}
}

// Write writes to each console; one that does not take it within two seconds
// (flow control on a serial line) is left out.
func (c *consoles) Write(p []byte) (int, error) {
	for _, t := range c.ttys {
		t.f.SetWriteDeadline(time.Now().Add(2 * time.Second))
		t.f.Write(p)
	}
	return len(p), nil
}

func (c *consoles) Interactive() bool {
	for _, t := range c.ttys {
		if t.saved != nil {
			return true
		}
	}
	return false
}

func (c *consoles) ReadKey(d time.Duration) (byte, bool) {
	select { // a key that is there counts, however short the wait
	case key := <-c.keys:
		return key, true
	default:
	}
	select {
	case key := <-c.keys:
		return key, true
	case <-time.After(d):
		return 0, false
	}
}

// close gives the terminals back as they were.
func (c *consoles) close() {
	for _, t := range c.ttys {
		if t.saved != nil {
			control(t.f, func(fd int) { unix.IoctlSetTermios(fd, unix.TCSETS, t.saved) })
		}
		t.f.Close()
	}
	c.ttys = nil
}

// control calls fn with f's descriptor, which stays non-blocking.
func control(f *os.File, fn func(fd int)) {
	if rc, err := f.SyscallConn(); err == nil {
		rc.Control(func(fd uintptr) { fn(int(fd)) })
	}
}
