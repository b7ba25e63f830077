package trust

import (
	"encoding/json"
	"errors"
	"fmt"
)

// A KeyList brings new keys to those who trust an old one: a DSSE envelope
// whose payload is public keys in PEM, signed by a key that is trusted already.
// It only adds: a key that is to go is taken out of the folder, and out of the
// initramfs, where it lies.
type KeyList []byte

// listType is the payload type of key lists. It is part of what is signed, so
// that no other document can be taken for one.
const listType = "application/vnd.abupdate.keys.v1+pem"

const (
	maxLists    = 32
	maxListKeys = 32
)

// ListMessage returns what is signed to make a key list of public keys in PEM.
func ListMessage(pem []byte) []byte { return preAuth(listType, pem) }

// NewKeyList returns the list of the keys in PEM, given signatures over its
// ListMessage.
func NewKeyList(pem []byte, signatures ...[]byte) (KeyList, error) {
	if _, err := ParsePEM("key list", pem); err != nil {
		return nil, err
	}
	e := dsse{Payload: pem, PayloadType: listType}
	for _, sig := range signatures {
		e.Signatures = append(e.Signatures, dsseSignature{sig})
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("making a key list: %w", err)
	}
	return append(b, '\n'), nil
}

// openList returns the keys in a list that a key of the set has signed.
func (s Set) openList(l KeyList) (Set, error) {
	var e dsse
	if err := decode(l, &e); err != nil {
		return nil, fmt.Errorf("key list: %w", err)
	}
	if e.PayloadType != listType {
		return nil, fmt.Errorf("key list: holds %q, not %q", e.PayloadType, listType)
	}
	by, ok := e.signer(s)
	if !ok {
		return nil, fmt.Errorf("key list: %w by any of %v", ErrUntrusted, s)
	}
	keys, err := ParsePEM("a key list by "+by.String(), e.Payload)
	if err == nil && len(keys) > maxListKeys {
		err = errors.New("too many keys")
	}
	return keys, err
}

// With returns the set with the keys of those lists that one of its keys has
// signed, or a key that came so. Other lists add nothing.
func (s Set) With(lists []KeyList) Set {
	s = append(Set(nil), s...)
	lists = lists[:min(len(lists), maxLists)]
	for range lists { // a list may vouch for the key of another
		before := len(s)
		for _, l := range lists {
			if more, err := s.openList(l); err == nil {
				s.Add(more...)
			}
		}
		if len(s) == before {
			break
		}
	}
	return s
}
