package selector

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// A World is what Plan decides from.
type World struct {
	// Want is the selector that the running slot brings; Digest is "" when it
	// brings none.
	Want struct {
		Digest string
		Size   int64
	}
	// Boot names this boot, and no other.
	Boot string
	// Current is the file that the firmware started, with its digest.
	Current, CurrentDigest string
	// Fallback is the path that firmware starts that knows of no entries.
	Fallback, FallbackDigest string
	Files                    []File // in Dir, and what was to replace Fallback
	// Digests of the files at Path(Want.Digest) and Replacement(Fallback), ""
	// when they are not there or cannot be read.
	WantedFile, ReplacementDigest string
	Room                          Room

	Variables bool // there are any
	Entries   []Entry
	Order     []uint16
	Next      []uint16 // none, or BootNext
	Record    Record
}

// A Record is what is remembered from boot to boot, in a variable.
type Record struct {
	Trial   *Trial   `json:"trial,omitempty"`
	Default *Default `json:"default,omitempty"`
	// Failed are the digests that did not come up in their trial.
	Failed []string `json:"failed,omitempty"`
}

// A Trial is a selector that was ordered by BootNext.
type Trial struct {
	Digest string `json:"digest"`
	Boot   string `json:"boot"`   // that ordered it
	Orders int    `json:"orders"` // with this one
	Armed  bool   `json:"armed"`  // BootNext was written
	Former string `json:"former"` // file that ordered it
}

// A Default is the selector that BootOrder puts first.
type Default struct {
	Digest string `json:"digest"`
	Boot   string `json:"boot"` // last that confirmed it
	// Seen says that a boot came from it by BootOrder and was confirmed.
	Seen bool `json:"seen,omitempty"`
}

// Facts are what Look cannot find on the ESP and in variables.
type Facts struct {
	ESP      ESP
	Fallback string // path
	Boot     string
	// Open opens the selector that the slot brings; nil: none.
	Open func() (io.ReadCloser, error)
}

// Look finds out what is there. v is nil on firmware without variables.
func Look(f Files, v Variables, facts Facts) (World, error) {
	w := World{Boot: facts.Boot, Fallback: facts.Fallback, Current: facts.Fallback, Variables: v != nil}
	var err error
	if facts.Open != nil {
		if w.Want.Digest, w.Want.Size, err = hash(facts.Open()); err != nil {
			return w, fmt.Errorf("reading the slot's selector: %w", err)
		}
	}
	if v != nil {
		if err := w.lookVariables(v, facts.ESP); err != nil {
			return w, fmt.Errorf("reading EFI variables: %w", err)
		}
	}
	if err := w.lookFiles(f); err != nil {
		return w, fmt.Errorf("reading the ESP: %w", err)
	}
	return w, nil
}

func (w *World) lookFiles(f Files) (err error) {
	if w.Files, err = f.List(Dir); err != nil {
		return err
	}
	if w.Room, err = f.Room(); err != nil {
		return err
	}
	list, err := f.List(path.Dir(w.Fallback))
	if err != nil {
		return err
	}
	for _, file := range list {
		if same(file.Name, Replacement(w.Fallback)) {
			w.Files = append(w.Files, file)
		}
	}
	// What cannot be read is no selector; a cut may have left it.
	digest := func(name string) string {
		d, _, err := hash(f.Open(name))
		if err != nil {
			return ""
		}
		return d
	}
	w.FallbackDigest = digest(w.Fallback)
	if w.CurrentDigest = w.FallbackDigest; !same(w.Current, w.Fallback) {
		w.CurrentDigest = digest(w.Current)
	}
	if w.Want.Digest != "" {
		w.WantedFile = digest(Path(w.Want.Digest))
	}
	w.ReplacementDigest = digest(Replacement(w.Fallback))
	return nil
}

func (w *World) lookVariables(v Variables, esp ESP) error {
	names, err := v.List()
	if err != nil {
		return err
	}
	get := func(name string) (b []byte) {
		if err != nil {
			return nil
		}
		if b, err = v.Get(name); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return b
	}
	for _, name := range names {
		if n, ok := entryNumber(name); ok {
			e := Entry{Number: n}
			_ = e.decode(get(name), esp) // not ours then, and its number is taken
			w.Entries = append(w.Entries, e)
		}
	}
	w.Order, w.Next = decodeNumbers(get(varOrder)), decodeNumbers(get(varNext))
	if b := get(varRecord); len(b) > 0 && json.Unmarshal(b, &w.Record) != nil {
		w.Record = Record{} // nothing is known; what is true is found out anew
	}
	if image, _, _ := cutUTF16(get(varImage)); image != "" {
		w.Current = fromEFI(image)
	} else if booted := decodeNumbers(get(varBooted)); len(booted) == 1 {
		if e := w.entry(func(e Entry) bool { return e.Number == booted[0] }); e != nil && e.File != "" {
			w.Current = e.File
		}
	}
	return err
}

// entry returns the first that fits, or nil.
func (w *World) entry(fits func(Entry) bool) *Entry {
	for i := range w.Entries {
		if fits(w.Entries[i]) {
			return &w.Entries[i]
		}
	}
	return nil
}

// hash reads all of a file.
func hash(r io.ReadCloser, err error) (digest string, size int64, _ error) {
	if err != nil {
		return "", 0, err
	}
	defer r.Close()
	h := sha256.New()
	n, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// BootedFile is what the firmware started, "" when it does not say.
func BootedFile(v Variables) string {
	b, _ := v.Get(varImage)
	image, _, _ := cutUTF16(b)
	return fromEFI(image)
}

// BootedPartition is the partition that it is on, "" when it does not say.
func BootedPartition(v Variables) string {
	b, _ := v.Get(VarPartition)
	guid, _, _ := cutUTF16(b)
	return guid
}

// OwnDigest is the start of the digest in the name of an own file, else "".
func OwnDigest(name string) string {
	if !isOwn(name) {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(path.Base(name), path.Ext(name))[len("selector-"):])
}
