package initramfs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/abupdate/abupdate/bootctl"
)

// A Cmdline is what the kernel's command line says to the boot sequence.
type Cmdline struct {
	Slot     bootctl.Slot  // abupdate.slot=a|b|recovery: what to boot this time; SlotNone: not given
	Disk     string        // abupdate.disk=PARTUUID of any partition of the boot disk
	Overlay  string        // abupdate.overlay=SIZE|PERCENT as tmpfs takes it
	Menu     time.Duration // abupdate.menu=SECONDS to wait for a key; negative: not given
	Watchdog time.Duration // abupdate.watchdog=SECONDS; 0: leave the watchdog alone
	Grace    time.Duration // abupdate.watchdog_grace=SECONDS in which somebody is to take it over
	Debug    bool          // abupdate.debug
	Timing   bool          // abupdate.timing
	Init     string        // init=PATH
	Warnings []string      // what could not be understood and was ignored
}

// DefaultOverlay is the size of the writable layer when none is given: half
// of the memory.
const DefaultOverlay = "50%"

// DefaultGrace is long enough for the first service of a slow device, not for
// all of them.
const DefaultGrace = 5 * time.Minute

// ParseCmdline reads the content of /proc/cmdline. It never fails: a typo on
// the command line must not keep a device from booting, so that a value that
// makes no sense is ignored and named in Warnings. The last one of a repeated
// option counts.
func ParseCmdline(line string) Cmdline {
	c := Cmdline{Overlay: DefaultOverlay, Menu: -1, Grace: DefaultGrace}
	for _, word := range splitCmdline(line) {
		key, value, _ := strings.Cut(word, "=")
		if err := c.set(key, value); err != nil {
			c.Warnings = append(c.Warnings, fmt.Sprintf("ignoring %q on the kernel command line: %v", word, err))
		}
	}
	return c
}

func (c *Cmdline) set(key, value string) (err error) {
	switch key {
	case "abupdate.slot":
		slot, err := bootctl.ParseSlot(value)
		if err != nil {
			return err
		}
		c.Slot = slot
	case "abupdate.disk":
		c.Disk = strings.ToLower(value)
	case "abupdate.overlay":
		size, err := parseOverlay(value)
		if err != nil {
			return err
		}
		c.Overlay = size
	case "abupdate.menu":
		return setSeconds(&c.Menu, value)
	case "abupdate.watchdog":
		return setSeconds(&c.Watchdog, value)
	case "abupdate.watchdog_grace":
		return setSeconds(&c.Grace, value)
	case "abupdate.debug":
		c.Debug = value != "0"
	case "abupdate.timing":
		c.Timing = value != "0"
	case "init":
		if !strings.HasPrefix(value, "/") {
			return fmt.Errorf("not an absolute path")
		}
		c.Init = value
	default:
		if strings.HasPrefix(key, "abupdate.") {
			return fmt.Errorf("no such option")
		}
	}
	return nil
}

// setSeconds parses whole seconds, at most an hour of them.
func setSeconds(d *time.Duration, value string) error {
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || n > 3600 {
		return fmt.Errorf("not a number of seconds up to 3600")
	}
	*d = time.Duration(n) * time.Second
	return nil
}

// minOverlay is the smallest writable layer that an init has a chance in.
const minOverlay = 1 << 20

// parseOverlay checks a size such as 512M, 1G, 300000K, or 25%, and returns it
// the way tmpfs takes it.
func parseOverlay(value string) (string, error) {
	if p, ok := strings.CutSuffix(value, "%"); ok {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n < 1 || n > 100 {
			return "", fmt.Errorf("not a percentage from 1 to 100")
		}
		return strconv.FormatUint(n, 10) + "%", nil
	}
	digits, shift := value, 0
	if value != "" {
		if i := strings.IndexByte("KMG", value[len(value)-1]&^0x20); i >= 0 {
			digits, shift = value[:len(value)-1], 10*(i+1)
		}
	}
	n, err := strconv.ParseUint(digits, 10, 33)
	if err != nil || n<<shift < minOverlay || n<<shift > 1<<40 {
		return "", fmt.Errorf("not a size from 1M to 1024G, nor a percentage")
	}
	return strconv.FormatUint(n<<shift, 10), nil
}

// splitCmdline cuts a command line into words as the kernel's next_arg does:
// double quotes keep blanks together and go away, and "--" ends what is meant
// for the kernel, the rest being the init's arguments.
func splitCmdline(line string) []string {
	var words []string
	var word strings.Builder
	quoted, any := false, false
	flush := func() {
		if any {
			words = append(words, word.String())
		}
		word.Reset()
		any = false
	}
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			quoted, any = !quoted, true
		case !quoted && isBlank(c):
			flush()
			if n := len(words); n > 0 && words[n-1] == "--" {
				return words[:n-1]
			}
		default:
			word.WriteByte(c)
			any = true
		}
	}
	flush()
	if n := len(words); n > 0 && words[n-1] == "--" {
		words = words[:n-1]
	}
	return words
}

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// inForce says whether a command line is the one that a slot asks for: it has
// all the slot's words, and none of another image that the selector brought.
func inForce(line, kargs, selectorKargs string) bool {
	words := splitCmdline(line)
	for _, w := range splitCmdline(kargs) {
		if !slices.Contains(words, w) {
			return false
		}
	}
	return kargs == selectorKargs || cutKargs(line, selectorKargs) == line
}

// cutKargs returns the line without the selector's image's words, which stand
// there as one piece.
func cutKargs(line, kargs string) string {
	if kargs == "" {
		return line
	}
	before, after, ok := strings.Cut(" "+line+" ", " "+kargs+" ")
	if !ok {
		return line
	}
	return strings.TrimSpace(strings.TrimSpace(before) + " " + after)
}

// newCmdline is the command line for a slot's kernel: the running one's with
// the slot's words in place of those that the selector's image added, and a
// panic= in any case: a kernel that stops before abinit runs must not be the
// end of the device.
func newCmdline(line, selectorKargs, kargs string) string {
	base := cutKargs(line, selectorKargs)
	add := strings.TrimSpace(kargs)
	if !slices.ContainsFunc(splitCmdline(base+" "+add), func(w string) bool { return strings.HasPrefix(w, "panic=") }) {
		add = strings.TrimSpace(add + " panic=5")
	}
	at := initArgs(base)
	return strings.TrimSpace(strings.TrimSpace(base[:at]) + " " + add + " " + base[at:])
}

// initArgs returns where the init's arguments start, with the "--" that stands
// before them; the line's end when there are none.
func initArgs(line string) int {
	quoted := false
	for i := 0; i < len(line); i++ {
		if line[i] == '"' {
			quoted = !quoted
		}
		if quoted || !strings.HasPrefix(line[i:], "--") || i > 0 && !isBlank(line[i-1]) {
			continue
		}
		if i+2 == len(line) || isBlank(line[i+2]) {
			return i
		}
	}
	return len(line)
}
