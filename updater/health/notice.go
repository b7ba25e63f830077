package health

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The message IDs of notices: journalctl MESSAGE_ID=... finds them.
const (
	IDConfirmed   = "03799e87035a429daf5cc9a99f064d27"
	IDCheckFailed = "4dce2706ebfc432a93004c463188e1a1"
	IDFallback    = "f5efede1e38047629d68a491ffe46b7d"
)

// Priorities are syslog's.
const (
	Error   = 3
	Warning = 4
	Notice  = 5
)

// A Message is for the system's log.
type Message struct {
	ID       string
	Priority int
	Text     string
	Fields   map[string]string // ABUPDATE_SLOT and the like
}

// A Log sends messages to the journal, or to syslog where there is none.
type Log struct {
	Root string // of the file system; "" is /
}

// Send sends a message. Without a log there is no error.
func (l Log) Send(m Message) error {
	err := datagram(filepath.Join("/", l.Root, "run/systemd/journal/socket"), m.journal())
	if errors.Is(err, fs.ErrNotExist) {
		const user = 1 << 3
		err = datagram(filepath.Join("/", l.Root, "dev/log"), fmt.Appendf(nil, "<%d>abupdate: %s", user|m.Priority, m.Text))
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("writing to the log: %w", err)
}

func datagram(path string, b []byte) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write(b)
	return err
}

// journal is the message in the journal's native protocol.
func (m Message) journal() []byte {
	var b bytes.Buffer
	field := func(name, value string) {
		if !strings.Contains(value, "\n") {
			fmt.Fprintf(&b, "%s=%s\n", name, value)
			return
		}
		fmt.Fprintf(&b, "%s\n", name)
		_ = binary.Write(&b, binary.LittleEndian, uint64(len(value)))
		fmt.Fprintf(&b, "%s\n", value)
	}
	field("MESSAGE", m.Text)
	field("MESSAGE_ID", m.ID)
	field("PRIORITY", fmt.Sprint(m.Priority))
	field("SYSLOG_IDENTIFIER", "abupdate")
	for _, name := range slices.Sorted(maps.Keys(m.Fields)) {
		field(name, m.Fields[name])
	}
	return b.Bytes()
}

// MotdPath is shown by pam_motd at every login.
const MotdPath = "/run/motd.d/abupdate"

// Motd puts a line where logins show it; "" takes it away.
func Motd(root, line string) error {
	path := filepath.Join("/", root, MotdPath)
	if line == "" {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing the message of the day: %w", err)
		}
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("writing the message of the day: %w", err)
	}
	tmp := filepath.Join("/", root, "run/.abupdate-motd") // pam_motd shows all that is in motd.d
	if err := os.WriteFile(tmp, []byte(line+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the message of the day: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing the message of the day: %w", err)
	}
	return nil
}
