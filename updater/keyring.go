package updater

import (
	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/partitions"
	"github.com/abupdate/abupdate/updater/trust"
)

// TrustDirs are where a device has the public keys that it trusts: those of
// the system that runs, and its administrator's.
var TrustDirs = []string{"/usr/lib/abupdate/trust.d", "/etc/abupdate/trust.d"}

// A Keyring is the keys that are trusted. The zero Keyring trusts nobody, and
// asks for no signatures.
type Keyring struct {
	Keys  trust.Set
	lists []trust.KeyList
}

// ReadKeyring reads the keys in folders that may be missing, and in files and
// folders that somebody named, which may not.
func ReadKeyring(dirs, named []string) (Keyring, error) {
	keys, lists, err := trust.ReadDirs(dirs...)
	if err != nil {
		return Keyring{}, fault.Wrap(fault.Verify, err)
	}
	more, moreLists, err := trust.Read(named...)
	if err != nil {
		return Keyring{}, fault.Wrap(fault.Usage, err)
	}
	keys.Add(more...)
	lists = append(lists, moreLists...)
	return Keyring{keys.With(lists), lists}, nil
}

// keyring reads the keys for the system's disk.
func (s *System) keyring() (Keyring, error) { return ReadKeyring(s.trustDirs, s.trust) }

// checkTrust refuses keys that somebody named and that cannot be read, where
// all others are only told of.
func (s *System) checkTrust() error {
	_, err := ReadKeyring(nil, s.trust)
	return err
}

// SignatureStatus tells what the signatures of something are worth.
type SignatureStatus struct {
	Signatures int `json:"signatures"`
	// SignedBy is the trusted key that made one of them, "" when none did, or
	// when no keys are known.
	SignedBy string `json:"signed_by,omitempty"`
	// SignatureProblem says why none of the keys that are known will do.
	SignatureProblem string `json:"signature_problem,omitempty"`
}

func (st *SignatureStatus) set(k trust.Key, err error) {
	if err != nil {
		st.SignatureProblem = err.Error()
		return
	}
	st.SignedBy = k.String()
}

// signatureStatus tells of the signatures in a slot, by the keys for the
// system's disk.
func (s *System) signatureStatus(c *partitions.SlotContent) SignatureStatus {
	ring, err := s.keyring()
	if err != nil {
		return SignatureStatus{SignatureProblem: err.Error()}
	}
	return ring.slotStatus(c)
}

// slotStatus tells of the signatures in a slot.
func (r Keyring) slotStatus(c *partitions.SlotContent) (st SignatureStatus) {
	e := new(trust.Envelope)
	if len(c.Signatures) > 0 {
		var err error
		if e, err = trust.DecodeEnvelope(c.Signatures); err != nil {
			st.SignatureProblem = err.Error()
			return st
		}
	}
	st.Signatures = len(e.Signatures)
	switch {
	case len(r.Keys) == 0:
	case st.Signatures == 0:
		st.SignatureProblem = "unsigned"
	default:
		st.set(r.Keys.VerifyManifest(e, c.ManifestRaw))
	}
	return st
}

// heldStatus is slotStatus of a slot that an apply of the image or update with
// the given digest has filled. The system in it may be one that was made on
// this device: the image's signature was checked then, and nothing in the slot
// leads from it to the root hash. What stands for it is who it was that signed.
func (r Keyring) heldStatus(c *partitions.SlotContent, digest string) SignatureStatus {
	m := c.Manifest
	if len(c.Signatures) > 0 || digest == "" || m.SourceDigest != digest {
		return r.slotStatus(c)
	}
	for _, k := range r.Keys {
		if k.ID == m.SourceSigner {
			return SignatureStatus{SignedBy: k.String()}
		}
	}
	return r.slotStatus(c)
}
