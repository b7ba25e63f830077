package recovery

import (
	"fmt"
	"time"

	"github.com/abupdate/abupdate/bootctl"
)

// Restart says how the machine goes down.
type Restart int

// The two ways down.
const (
	Reboot Restart = iota + 1
	PowerOff
)

// An Act is what the menus can answer.
type Act int

// The answers. Continue means that nobody decided anything.
const (
	Continue Act = iota
	FactoryReset
	RestoreGolden
	RetrySlot
	BootSlot // this time only
	OpenRecovery
	DoReboot
	DoPowerOff
)

// An Action is a decision made at a menu.
type Action struct {
	Act  Act
	Slot bootctl.Slot // of RetrySlot and BootSlot
}

// A Menu is a numbered list. The numbers are fixed: an entry that makes no
// sense at the moment stays in the list with the reason.
type Menu struct {
	Title   string
	Lines   []string // told above the entries
	Entries []Entry
}

// An Entry is one line of a menu. It cannot be chosen when Unavailable says
// why; when Confirm is set the answer must be followed by "yes".
type Entry struct {
	Text, Unavailable, Confirm string
	Action                     Action
}

// Facts are what the recovery menu depends on.
type Facts struct {
	Reason string // why the device is in recovery
	// Slots describe A and B; NoSlot says why one cannot be booted, "" if it can.
	Slots, NoSlot [2]string
	Golden        string // version of the golden image
	NoGolden      string // why there is none, "" if there is
	NoVar         string // why /var cannot be made anew
	// ReadOnly says why the boot state must not be written; then only what
	// leaves it alone is offered.
	ReadOnly string
}

// RecoveryMenu returns the menu that a device in recovery shows.
func RecoveryMenu(f Facts) Menu {
	m := Menu{Title: "abupdate recovery"}
	if f.Reason != "" {
		m.Lines = append(m.Lines, "reason: "+f.Reason)
	}
	retry := RetrySlot
	if f.ReadOnly != "" {
		m.Lines = append(m.Lines, "the boot state is left alone: "+f.ReadOnly)
		retry = BootSlot
	}
	m.Entries = []Entry{
		{Text: "factory reset: make /var anew, keep the slots", Unavailable: first(f.ReadOnly, f.NoVar),
			Confirm: "everything in /var is lost", Action: Action{Act: FactoryReset}},
		{Text: "restore the golden image into slot a" + parens(f.Golden), Unavailable: first(f.ReadOnly, f.NoGolden),
			Action: Action{Act: RestoreGolden}},
	}
	for i, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		m.Entries = append(m.Entries, Entry{Text: fmt.Sprintf("retry slot %v%s", slot, parens(f.Slots[i])),
			Unavailable: f.NoSlot[i], Action: Action{Act: retry, Slot: slot}})
	}
	m.Entries = append(m.Entries,
		Entry{Text: "reboot", Action: Action{Act: DoReboot}},
		Entry{Text: "power off", Action: Action{Act: DoPowerOff}})
	return m
}

// BootMenu returns the menu that a key at boot opens.
func BootMenu(f Facts) Menu {
	m := Menu{Title: "abupdate boot menu"}
	for i, slot := range []bootctl.Slot{bootctl.SlotA, bootctl.SlotB} {
		m.Entries = append(m.Entries, Entry{Text: fmt.Sprintf("boot slot %v this time%s", slot, parens(f.Slots[i])),
			Unavailable: f.NoSlot[i], Action: Action{Act: BootSlot, Slot: slot}})
	}
	m.Entries = append(m.Entries,
		Entry{Text: "recovery", Action: Action{Act: OpenRecovery}},
		Entry{Text: "go on as usual", Action: Action{Act: Continue}})
	return m
}

// Ask shows a menu until one of its entries is chosen. It waits without end,
// calling alive every few seconds, unless idle is not zero: then Continue is
// the answer when nothing was typed for so long.
func Ask(c Console, m Menu, idle time.Duration, alive func()) Action {
	for show := true; ; {
		if show {
			m.print(c)
		}
		fmt.Fprintf(c, "choice [1-%d]: ", len(m.Entries))
		line, ok := readLine(c, idle, alive)
		if !ok {
			fmt.Fprint(c, "\r\n")
			return Action{Act: Continue}
		}
		e, err := m.pick(line)
		show = line == ""
		if err != nil {
			if line != "" {
				fmt.Fprintf(c, "%v\r\n", err)
			}
			continue
		}
		if e.Confirm != "" {
			fmt.Fprintf(c, "%s; type yes to go on: ", e.Confirm)
			if line, ok := readLine(c, time.Minute, alive); !ok || line != "yes" {
				fmt.Fprint(c, "not done\r\n")
				continue
			}
		}
		return e.Action
	}
}

func (m Menu) print(c Console) {
	fmt.Fprintf(c, "\r\n%s\r\n", m.Title)
	for _, l := range m.Lines {
		fmt.Fprintf(c, "  %s\r\n", l)
	}
	for i, e := range m.Entries {
		fmt.Fprintf(c, "  %d  %s", i+1, e.Text)
		if e.Unavailable != "" {
			fmt.Fprintf(c, " -- not now: %s", e.Unavailable)
		}
		fmt.Fprint(c, "\r\n")
	}
}

// pick returns the entry that a typed line names.
func (m Menu) pick(line string) (Entry, error) {
	if len(line) != 1 || line[0] < '1' || int(line[0]-'0') > len(m.Entries) {
		return Entry{}, fmt.Errorf("%q is not one of 1 to %d", line, len(m.Entries))
	}
	e := m.Entries[line[0]-'1']
	if e.Unavailable != "" {
		return Entry{}, fmt.Errorf("%s: not now: %s", e.Text, e.Unavailable)
	}
	return e, nil
}

func parens(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

// first returns the first of the reasons that is one.
func first(reasons ...string) string {
	for _, r := range reasons {
		if r != "" {
			return r
		}
	}
	return ""
}
