package recovery

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A Console is where a person may be: all consoles of the machine at once.
type Console interface {
	io.Writer
	// Interactive says whether anything can be typed.
	Interactive() bool
	// ReadKey waits up to d for one byte; ok is false when none came.
	ReadKey(d time.Duration) (key byte, ok bool)
}

// maxLine bounds what a person, or noise on a serial line, may type.
const maxLine = 32

// readLine reads until Enter, echoing what can be printed. While nothing is
// typed it calls alive every few seconds; when nothing was typed for longer
// than idle, and idle is not zero, ok is false.
func readLine(c Console, idle time.Duration, alive func()) (line string, ok bool) {
	const step = 2 * time.Second
	var b []byte
	for quiet := time.Duration(0); idle == 0 || quiet < idle; {
		alive()
		key, ok := c.ReadKey(step)
		if !ok {
			quiet += step
			continue
		}
		quiet = 0
		switch {
		case key == '\r' || key == '\n':
			fmt.Fprint(c, "\r\n")
			return strings.TrimSpace(string(b)), true
		case key == 0x7f || key == '\b':
			if len(b) > 0 {
				b = b[:len(b)-1]
				fmt.Fprint(c, "\b \b")
			}
		case key >= ' ' && key < 0x7f && len(b) < maxLine:
			b = append(b, key)
			c.Write(b[len(b)-1:])
		}
	}
	return "", false
}
