package install

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/abupdate/abupdate/updater/trust"
	"github.com/abupdate/abupdate/updater/trust/keys"
)

// trustDir is where the initramfs has its keys.
const trustDir = "/etc/abupdate/trust.d"

// baked is what an initramfs is to know of trust.
type baked struct {
	keys   trust.Set
	files  map[string][]byte // for build.Options.Extra
	config []byte            // for build.Options.Config
}

// readTrust reads the keys that go into the initramfs.
func readTrust(opt BootOptions) (b baked, err error) {
	if len(opt.Trust) == 0 {
		if opt.AllowLocal {
			return b, fault.Errorf(fault.Usage, "without keys everything starts: --allow-local goes with --trust")
		}
		return b, nil
	}
	if b.keys, _, err = trust.Read(opt.Trust...); err != nil {
		return b, fault.Wrap(fault.Usage, err)
	}
	b.files = make(map[string][]byte)
	for _, path := range opt.Trust {
		if err := b.add(path); err != nil {
			return b, fault.Wrap(fault.Usage, err)
		}
	}
	if opt.AllowLocal {
		// What package initramfs reads.
		b.config, err = json.Marshal(map[string]bool{"allow_local": true})
	}
	return b, err
}

// add takes a file, or those of a folder that hold keys.
func (b *baked) add(path string) error {
	fi, err := os.Stat(path)
	if err != nil {
		return err
	}
	names := []string{path}
	if fi.IsDir() {
		names = nil
		for _, suffix := range []string{trust.KeySuffix, trust.ListSuffix} {
			found, err := filepath.Glob(filepath.Join(path, "*"+suffix))
			if err != nil {
				return err
			}
			names = append(names, found...)
		}
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		to := trustDir + "/" + filepath.Base(name)
		if !fi.IsDir() && !strings.HasSuffix(to, trust.KeySuffix) {
			to += trust.KeySuffix
		}
		if old, dup := b.files[to]; dup && string(old) != string(text) {
			return fmt.Errorf("two files with keys are called %s", filepath.Base(to))
		}
		b.files[to] = text
	}
	return nil
}

// check refuses to make a disk that would not start.
func (b *baked) check(opt BootOptions, sign []*keys.Private) error {
	if len(b.keys) == 0 || opt.AllowLocal && len(sign) == 0 { // wrongly signed is worse than unsigned
		return nil
	}
	for _, k := range sign {
		for _, trusted := range b.keys {
			if trusted.ID == k.Public().ID {
				return nil
			}
		}
	}
	if len(sign) == 0 {
		return fault.Errorf(fault.Usage, "the slots would be unsigned and not start: with --trust give --sign-key, or --allow-local")
	}
	return fault.Errorf(fault.Usage, "the slots would not start: no --sign-key is the private half of a key that --trust names")
}
