package partitions

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// A guid is 16 bytes in GPT's mixed order: the first three fields are little
// endian (UEFI specification, appendix A).
type guid [16]byte

func (g guid) String() string {
	var b [16]byte
	binary.BigEndian.PutUint32(b[0:], binary.LittleEndian.Uint32(g[0:]))
	binary.BigEndian.PutUint16(b[4:], binary.LittleEndian.Uint16(g[4:]))
	binary.BigEndian.PutUint16(b[6:], binary.LittleEndian.Uint16(g[6:]))
	copy(b[8:], g[8:])
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// CheckGUID returns an error unless s is a GUID in the usual notation.
func CheckGUID(s string) error {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return fmt.Errorf("%q is not a GUID", s)
	}
	if _, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]); err != nil {
		return fmt.Errorf("%q is not a GUID", s)
	}
	return nil
}
