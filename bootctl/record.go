package bootctl

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A record, in a sector-aligned block of RecordSize bytes, little endian:
//
//	 0  8  magic "ABUPSTAT"
//	 8  2  format version
//	10  2  zero
//	12  4  length of the payload
//	16  8  generation: the higher one of two records counts
//	24  4  CRC32C of the whole block, with this field zero
//	28  4  zero
//	32  n  payload: the State as JSON
//	 …     zero
//
// Magic, version and CRC keep their places in every version of the format, so
// that an old program knows a newer record from a torn one.
const (
	RecordSize    = 4096
	FormatVersion = 1

	recordMagic = "ABUPSTAT"
	headerSize  = 32
	maxPayload  = RecordSize - headerSize
)

var (
	// ErrCorrupt is wrapped by the error for a record that is torn, damaged,
	// or was never written.
	ErrCorrupt = errors.New("damaged boot state record")
	// ErrNewer is wrapped by the error for a record of a later format. It
	// must not be overwritten.
	ErrNewer = errors.New("boot state was written by a newer version of abupdate")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Limits of the texts in a record, in bytes. With all of them used up and no
// event the payload takes about 3.7 KiB: TestLargestStateFits.
const (
	maxVersion = 64
	maxDigest  = 80
	maxImage   = 200
	maxReason  = 160
	maxName    = 24
)

// encodeRecord always succeeds: texts are cut, and old events are left out
// until the State fits.
func encodeRecord(s State, generation uint64) ([]byte, error) {
	s = s.tidy()
	payload, err := marshal(s)
	for err == nil && len(payload) > maxPayload && len(s.Events) > 0 {
		s.Events = s.Events[1:]
		payload, err = marshal(s)
	}
	if err != nil {
		return nil, fmt.Errorf("encoding boot state: %w", err)
	}
	if len(payload) > maxPayload {
		return nil, fmt.Errorf("encoding boot state: %d bytes; there is room for %d", len(payload), maxPayload)
	}
	b := make([]byte, RecordSize)
	copy(b, recordMagic)
	binary.LittleEndian.PutUint16(b[8:], FormatVersion)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(b[16:], generation)
	copy(b[headerSize:], payload)
	binary.LittleEndian.PutUint32(b[24:], checksum(b))
	return b, nil
}

// stored is a State as JSON. A program that does not know of Held, such as an
// older selector, must not take the record for a damaged one, and must leave
// the slot alone: to it, the slot is bad.
type stored struct {
	State
	Slots [2]storedSlot `json:"slots"`
}

type storedSlot struct {
	SlotState
	Held bool `json:"held,omitempty"`
}

func marshal(s State) ([]byte, error) {
	v := stored{State: s}
	for i, e := range s.Slots {
		v.Slots[i] = storedSlot{SlotState: e, Held: e.Status == Held}
		if e.Status == Held {
			v.Slots[i].Status = Bad
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // would turn one byte into six
	err := enc.Encode(v)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

func unmarshal(payload []byte) (State, error) {
	var v stored
	if err := json.Unmarshal(payload, &v); err != nil {
		return State{}, err
	}
	s := v.State
	for i, e := range v.Slots {
		if e.Held && e.Status == Bad {
			e.Status = Held
		}
		s.Slots[i] = e.SlotState
	}
	return s, s.validate()
}

// checksum is the CRC of a record with its own field taken as zero.
func checksum(b []byte) uint32 {
	c := crc32.Checksum(b[:24], castagnoli)
	c = crc32.Update(c, castagnoli, make([]byte, 4))
	return crc32.Update(c, castagnoli, b[28:])
}

// decodeRecord returns an error that wraps ErrCorrupt or ErrNewer for
// anything that encodeRecord did not write.
func decodeRecord(b []byte) (State, uint64, error) {
	if len(b) != RecordSize || string(b[:8]) != recordMagic {
		return State{}, 0, fmt.Errorf("%w: no magic", ErrCorrupt)
	}
	if got, want := checksum(b), binary.LittleEndian.Uint32(b[24:]); got != want {
		return State{}, 0, fmt.Errorf("%w: checksum is %08x; want %08x", ErrCorrupt, got, want)
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v > FormatVersion {
		return State{}, 0, fmt.Errorf("%w: format %d; this program knows %d", ErrNewer, v, FormatVersion)
	} else if v < FormatVersion {
		return State{}, 0, fmt.Errorf("%w: format %d", ErrCorrupt, v)
	}
	generation := binary.LittleEndian.Uint64(b[16:])
	if generation == 0 || generation == math.MaxUint64 { // the next save would not be newer
		return State{}, 0, fmt.Errorf("%w: generation %d", ErrCorrupt, generation)
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if n > maxPayload {
		return State{}, 0, fmt.Errorf("%w: payload of %d bytes", ErrCorrupt, n)
	}
	s, err := unmarshal(b[headerSize : headerSize+n])
	if err != nil {
		return State{}, 0, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return s.tidy(), generation, nil
}

// validate refuses what no version of this package writes.
func (s State) validate() error {
	for i, e := range s.Slots {
		switch e.Status {
		case Empty, Writing, Held, Pending, Good, Bad:
		default:
			return fmt.Errorf("slot %v has status %q", SlotA+Slot(i), e.Status)
		}
	}
	switch s.Reset {
	case ResetNone, ResetRequested, ResetWiping, ResetWiped:
		return nil
	}
	return fmt.Errorf("factory reset is %q", s.Reset)
}

// tidy returns the state as a record holds it.
func (s State) tidy() State {
	for i := range s.Slots {
		e := &s.Slots[i]
		e.Version, e.Image = clip(e.Version, maxVersion), clip(e.Image, maxImage)
		e.Digest, e.RootHash = clip(e.Digest, maxDigest), clip(e.RootHash, maxDigest)
		e.LastFailure = clip(e.LastFailure, maxReason)
	}
	s.Floor = clip(s.Floor, maxVersion)
	s.Fallback = clip(s.Fallback, maxReason)
	s.LastBoot.Reason = clip(s.LastBoot.Reason, maxReason)
	s.LastBoot.Failure = clip(s.LastBoot.Failure, maxReason)
	denied := s.Denied[max(0, len(s.Denied)-MaxDenied):]
	s.Denied = nil
	for _, d := range denied {
		s.Denied = append(s.Denied, clip(d, maxDigest))
	}
	events := slices.Clone(s.Events[max(0, len(s.Events)-MaxEvents):])
	s.Events = nil
	for _, e := range events {
		e.Version, e.Event = clip(e.Version, maxVersion), clip(e.Event, maxName)
		e.Reason = clip(e.Reason, maxReason)
		s.Events = append(s.Events, e)
	}
	return s
}

// clip cuts a text to n bytes of characters that JSON writes as they are.
func clip(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r == '\\':
			return '/'
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, text)
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
