// Package manifest defines the update manifest: the JSON document that says
// what a slot holds. It is the config blob of an update artifact and lies in
// the slot itself, between the hash tree and the footer (docs/ondisk.md).
package manifest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"unicode"
)

// Media types of an update as an OCI artifact.
const (
	ArtifactType      = "application/vnd.abupdate.update.v1"
	ConfigMediaType   = "application/vnd.abupdate.manifest.v1+json"
	SquashfsMediaType = "application/vnd.abupdate.squashfs.v1"
	TreeMediaType     = "application/vnd.abupdate.verity.v1"
	LayersMediaType   = "application/vnd.abupdate.layers.v1" // the list of layers; not every update has one
)

// FormatVersion is the version of the document that this package writes.
const FormatVersion = 1

// MaxSize bounds an encoded manifest, in bytes.
const MaxSize = 64 << 10

// MaxVersion bounds Manifest.Version, in bytes: the boot state has no room for
// more, and versions are told apart there.
const MaxVersion = 64

// MaxKargs bounds Manifest.Kargs, in bytes: a command line has 2047 at most.
const MaxKargs = 1024

// EtcPersist is the value of Manifest.Etc with which changes in /etc stay.
const EtcPersist = "persist"

// MaxPersist bounds Manifest.Persist.
const MaxPersist = 64

// BlockSize is the size of data and hash blocks, in bytes.
const BlockSize = 4096

// ErrInvalid is wrapped by every error of Decode and Validate.
var ErrInvalid = errors.New("invalid update manifest")

// A Manifest describes one image of the root file system.
type Manifest struct {
	Format       int    `json:"format"`
	Version      string `json:"version"`      // the publisher's version of the system, free text
	Architecture string `json:"architecture"` // as in OCI: amd64, arm64
	Compatible   string `json:"compatible,omitempty"`
	Kernel       string `json:"kernel,omitempty"` // kernel release, as uname -r prints it
	// Kargs are the words that the system adds to the kernel's command line,
	// as they stand there.
	Kargs string `json:"kargs,omitempty"`
	// Etc is EtcPersist when changes in /etc are to stay; else a reboot forgets
	// them.
	Etc string `json:"etc,omitempty"`
	// Persist are folders outside of /var and /etc that are kept there.
	Persist    []string `json:"persist,omitempty"`
	RootHash   string   `json:"root_hash"`   // hex, of the verity tree
	Salt       string   `json:"salt"`        // hex
	DataBlocks int64    `json:"data_blocks"` // of BlockSize bytes
	ImageBytes int64    `json:"image_bytes"` // squashfs, padded to BlockSize
	HashOffset int64    `json:"hash_offset"` // bytes from the slot's start to the verity superblock
	TreeBytes  int64    `json:"tree_bytes"`  // verity superblock and hash tree
	// Encoder names the squashfs encoder and its parameters: the root hash
	// depends on them.
	Encoder      string `json:"encoder"`
	SourceImage  string `json:"source_image,omitempty"`  // reference that was built from
	SourceDigest string `json:"source_digest,omitempty"` // sha256:... of the image's manifest
	// SourceSigner is the ID of the trusted key that had signed the image, in a
	// slot whose system was made of it on the device. It is the device's own
	// word, as the root hash is.
	SourceSigner string `json:"source_signed_by,omitempty"`
	MinVersion   string `json:"min_version,omitempty"`
	Created      string `json:"created,omitempty"` // RFC 3339, from the image's config
	// Title is a name for people, from org.opencontainers.image.title or
	// os-release's PRETTY_NAME.
	Title string `json:"title,omitempty"`
	// Layers is the SHA-256, in hex, of the list of layers that the image was
	// made of. A slot may have it or not.
	Layers string `json:"layers_sha256,omitempty"`
}

// Encode returns the document's canonical bytes: the same manifest gives the
// same bytes. It is stricter than Decode: what is in a slot already may start.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if err := CheckVersion(m.Version); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding update manifest: %w", err)
	}
	return append(b, '\n'), nil
}

// CheckVersion says why a version cannot be that of a new system.
func CheckVersion(version string) error {
	if len(version) > MaxVersion {
		return fmt.Errorf("version %.16q... has %d bytes; a device's boot state has room for %d", version, len(version), MaxVersion)
	}
	return checkText(version)
}

func checkText(text string) error {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return fmt.Errorf("%q has control characters", text)
	}
	return nil
}

// Decode reads and validates a document. Fields that it does not know are
// ignored: a later minor revision may add some.
func Decode(b []byte) (*Manifest, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, more than %d", ErrInvalid, len(b), MaxSize)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	m := new(Manifest)
	if err := dec.Decode(m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: data after the document", ErrInvalid)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m, nil
}

// Validate checks each field by itself and those that depend on each other.
func (m *Manifest) Validate() error {
	switch {
	case m.Format != FormatVersion:
		return fmt.Errorf("%w: format %d; this program knows %d", ErrInvalid, m.Format, FormatVersion)
	case m.Version == "":
		return fmt.Errorf("%w: no version", ErrInvalid)
	case m.Architecture == "":
		return fmt.Errorf("%w: no architecture", ErrInvalid)
	case m.DataBlocks <= 0 || m.DataBlocks > 1<<50/BlockSize:
		return fmt.Errorf("%w: data_blocks is %d", ErrInvalid, m.DataBlocks)
	case m.ImageBytes != m.DataBlocks*BlockSize:
		return fmt.Errorf("%w: image_bytes is %d; %d blocks have %d", ErrInvalid, m.ImageBytes, m.DataBlocks, m.DataBlocks*BlockSize)
	case m.HashOffset != m.ImageBytes:
		return fmt.Errorf("%w: hash_offset is %d; the image ends at %d", ErrInvalid, m.HashOffset, m.ImageBytes)
	case m.TreeBytes < BlockSize || m.TreeBytes%BlockSize != 0 || m.TreeBytes > m.ImageBytes/64+8*BlockSize:
		return fmt.Errorf("%w: tree_bytes is %d", ErrInvalid, m.TreeBytes)
	}
	// They stand in the menus of the console, one to a line.
	for _, text := range []string{m.Version, m.Architecture, m.Compatible, m.Kernel} {
		if err := checkText(text); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	if m.Layers != "" {
		if _, err := decodeSum("layers_sha256", m.Layers); err != nil {
			return err
		}
	}
	if _, err := m.RootHashBytes(); err != nil {
		return err
	}
	if len(m.Kargs) > MaxKargs || strings.ContainsFunc(m.Kargs, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
		return fmt.Errorf("%w: kargs has more than %d bytes, or others than printable ASCII", ErrInvalid, MaxKargs)
	}
	if m.Etc != "" && m.Etc != EtcPersist {
		return fmt.Errorf("%w: etc is %q; want %q or nothing", ErrInvalid, m.Etc, EtcPersist)
	}
	if len(m.Persist) > MaxPersist {
		return fmt.Errorf("%w: persist names %d folders, more than %d", ErrInvalid, len(m.Persist), MaxPersist)
	}
	for _, dir := range m.Persist {
		if err := CheckPersist(dir); err != nil {
			return fmt.Errorf("%w: persist: %w", ErrInvalid, err)
		}
	}
	_, err := m.SaltBytes()
	return err
}

// others are folders that have a keeper of their own, or must not have one.
var others = []string{"/dev", "/etc", "/proc", "/run", "/sys", "/usr", "/var", "/boot", "/tmp"}

// CheckPersist says why dir cannot be one of Persist.
func CheckPersist(dir string) error {
	switch {
	case !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/":
		return fmt.Errorf("%q is not the plain path of a folder", dir)
	case strings.ContainsFunc(dir, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("%q has control characters", dir)
	}
	for _, other := range others {
		if dir == other || strings.HasPrefix(dir, other+"/") {
			return fmt.Errorf("%s is in %s, which is not kept this way", dir, other)
		}
	}
	return nil
}

// RootHashBytes returns the 32 bytes of the root hash.
func (m *Manifest) RootHashBytes() ([]byte, error) { return decodeSum("root_hash", m.RootHash) }

func decodeSum(field, s string) ([]byte, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		return nil, fmt.Errorf("%w: %s is not 64 hex digits", ErrInvalid, field)
	}
	return b, nil
}

// SaltBytes returns the salt, at most 256 bytes.
func (m *Manifest) SaltBytes() ([]byte, error) {
	b, err := hex.DecodeString(m.Salt)
	if err != nil || len(b) > 256 {
		return nil, fmt.Errorf("%w: salt is not hex of at most 256 bytes", ErrInvalid)
	}
	return b, nil
}
