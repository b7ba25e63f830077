package selector

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
)

// An ESP is a partition as device paths of the firmware name it.
type ESP struct {
	GUID          string // PARTUUID, lower case
	Number        uint32
	Start, Blocks uint64 // sectors
}

// An Entry is one of the firmware's boot entries.
type Entry struct {
	Number uint16
	Label  string
	// File is the program that it starts, "" when it is not a file of the ESP
	// that is looked at.
	File string
}

func (e Entry) variable() string { return fmt.Sprintf("Boot%04X%s", e.Number, global) }

// entryNumber reads the name of an entry's variable.
func entryNumber(name string) (uint16, bool) {
	digits, ok := strings.CutSuffix(name, global)
	digits, boot := strings.CutPrefix(digits, "Boot")
	if !ok || !boot || len(digits) != 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 16, 16)
	return uint16(n), err == nil
}

// loadActive is LOAD_OPTION_ACTIVE.
const loadActive = 1

// Nodes of device paths (UEFI specification, 10.3).
const (
	nodeMedia, mediaHD, mediaFile = 4, 1, 4
	nodeEnd, endAll               = 0x7f, 0xff
	hdSize                        = 42
)

// encode makes an EFI_LOAD_OPTION (UEFI specification, 3.1.3):
//
//	attributes u32 | bytes of the path u16 | label, UTF-16, NUL | HD | file | end
func (e Entry) encode(esp ESP) ([]byte, error) {
	guid, err := hex.DecodeString(strings.ReplaceAll(esp.GUID, "-", ""))
	if err != nil || len(guid) != 16 {
		return nil, fmt.Errorf("encoding a boot entry: %q is not a GUID", esp.GUID)
	}
	le := binary.LittleEndian
	path := []byte{nodeMedia, mediaHD, hdSize, 0}
	path = le.AppendUint32(path, esp.Number)
	path = le.AppendUint64(path, esp.Start)
	path = le.AppendUint64(path, esp.Blocks)
	path = append(path, mixed(guid)...)
	path = append(path, 2, 2) // GPT, GUID
	file := utf16z(`\` + strings.ReplaceAll(e.File, "/", `\`))
	path = append(path, nodeMedia, mediaFile)
	path = le.AppendUint16(path, uint16(4+len(file)))
	path = append(path, file...)
	path = append(path, nodeEnd, endAll, 4, 0)

	b := le.AppendUint32(nil, loadActive)
	b = le.AppendUint16(b, uint16(len(path)))
	b = append(b, utf16z(e.Label)...)
	return append(b, path...), nil
}

var errEntry = errors.New("boot entry is cut short")

// decode reads an EFI_LOAD_OPTION. What it starts from elsewhere than a file
// of the ESP has no File.
func (e *Entry) decode(b []byte, esp ESP) error {
	if len(b) < 6 {
		return errEntry
	}
	n := int(binary.LittleEndian.Uint16(b[4:]))
	label, rest, ok := cutUTF16(b[6:])
	if !ok || len(rest) < n {
		return errEntry
	}
	e.Label, e.File = label, ""
	here := false
	for path := rest[:n]; len(path) >= 4; {
		size := int(binary.LittleEndian.Uint16(path[2:]))
		if size < 4 || size > len(path) {
			return errEntry
		}
		switch node := path[4:size]; {
		case path[0] == nodeMedia && path[1] == mediaHD && size == hdSize:
			here = strings.EqualFold(guidString(mixed(node[20:36])), esp.GUID)
		case path[0] == nodeMedia && path[1] == mediaFile && here:
			name, _, _ := cutUTF16(node)
			e.File = fromEFI(name)
		}
		path = path[size:]
	}
	return nil
}

// fromEFI turns a path of the firmware into a name in Files.
func fromEFI(path string) string {
	return strings.TrimLeft(strings.ReplaceAll(path, `\`, "/"), "/")
}

// mixed changes between the order of the digits and GPT's mixed one.
func mixed(g []byte) []byte {
	return []byte{g[3], g[2], g[1], g[0], g[5], g[4], g[7], g[6], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]}
}

func guidString(g []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", g[0:4], g[4:6], g[6:8], g[8:10], g[10:])
}

func utf16z(s string) []byte {
	var b []byte
	for _, u := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// cutUTF16 reads up to a NUL; ok says that there was one.
func cutUTF16(b []byte) (s string, rest []byte, ok bool) {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0 {
			return string(utf16.Decode(units)), b[2:], true
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units)), nil, false
}

// encodeNumbers is BootOrder or BootNext.
func encodeNumbers(list ...uint16) []byte {
	b := []byte{}
	for _, n := range list {
		b = binary.LittleEndian.AppendUint16(b, n)
	}
	return b
}

func decodeNumbers(b []byte) (list []uint16) {
	for ; len(b) >= 2; b = b[2:] {
		list = append(list, binary.LittleEndian.Uint16(b))
	}
	return list
}
