package lint

import (
	"encoding/json"
	"strings"

	"github.com/abupdate/abupdate/internal/fstree"
)

// A secretProbe looks for what must not be in an image that many devices and
// people get: keys, passwords, and what makes one machine differ from others.
type secretProbe struct {
	keys        []string // may be private keys
	credentials []string
	shadows     []string
}

// keyLimit is the size of the largest file that is taken for a key.
const keyLimit = 64 << 10

func (p *secretProbe) entry(t *tree, e fstree.Entry) {
	if e.Type != fstree.Regular || e.Size == 0 {
		return
	}
	name := base(e.Path)
	switch {
	case isHostKey(e.Path):
		if !strings.HasSuffix(name, ".pub") {
			t.found("ssh-host-key", e.Path, "")
		}
	case e.Path == "etc/shadow" || e.Path == "etc/shadow-" || e.Path == "usr/etc/shadow":
		p.shadows = append(p.shadows, e.Path)
	case identity(e.Path):
		t.found("device-identity", e.Path, "")
	case histories[name]:
		t.foundf("history", e.Path, "%d bytes", e.Size)
	case isCredential(e.Path):
		p.credentials = append(p.credentials, e.Path)
	case mayBeKey(e.Path) && e.Size <= keyLimit:
		p.keys = append(p.keys, e.Path)
	}
}

func isHostKey(name string) bool {
	return strings.HasPrefix(base(name), "ssh_host_") && strings.Contains(base(name), "_key") && !below(name, "usr/share")
}

// histories are files in which programs keep what was typed.
var histories = map[string]bool{
	".bash_history": true, ".ash_history": true, ".zsh_history": true, ".python_history": true, ".mysql_history": true,
	".psql_history": true, ".sqlite_history": true, ".lesshst": true, ".viminfo": true, ".wget-hsts": true,
}

// identities are files that are each device's own. /etc/machine-id has a rule
// of its own.
var identities = []string{
	"var/lib/systemd/random-seed", "var/lib/random-seed", "var/lib/urandom/random-seed", "var/lib/systemd/credential.secret",
	"var/lib/dbus/machine-id", "var/lib/NetworkManager/secret_key", "etc/iscsi/initiatorname.iscsi", "etc/nvme/hostid", "etc/nvme/hostnqn",
	"etc/hostid", "var/lib/tor/keys", "boot/loader/random-seed", "etc/ssl/private/ssl-cert-snakeoil.key",
}

func identity(name string) bool { return belowAny(name, identities...) }

// credentialFiles hold passwords and tokens, by the end of their path.
var credentialFiles = []string{
	".docker/config.json", ".dockercfg", "containers/auth.json", "ostree/auth.json", ".netrc", ".git-credentials", ".pgpass", ".my.cnf",
	".aws/credentials", ".kube/config", ".config/gh/hosts.yml", ".npmrc", ".pypirc", "etc/apt/auth.conf", ".config/gcloud/credentials.db",
}

func isCredential(name string) bool {
	for _, end := range credentialFiles {
		if name == end || strings.HasSuffix(name, "/"+end) {
			return true
		}
	}
	return below(parent(name), "etc/apt/auth.conf.d")
}

// mayBeKey says by its name whether a file may hold a private key. Keys that
// packages bring for their tests and examples are no secrets.
func mayBeKey(name string) bool {
	file := base(name)
	if below(name, "usr/share/doc") || strings.Contains(name, "/test") || strings.Contains(name, "/example") {
		return false
	}
	for _, end := range []string{".key", ".pem", ".p8", ".pk8"} {
		if strings.HasSuffix(file, end) {
			return true
		}
	}
	return strings.HasPrefix(file, "id_") && !strings.Contains(file, ".") || file == "dropbear_rsa_host_key"
}

// isSecretName says whether one of these rules may tell of a file.
func isSecretName(name string) bool {
	return isHostKey(name) || histories[base(name)] || isCredential(name)
}

func (p *secretProbe) want(t *tree) {
	for _, list := range [][]string{p.shadows, p.credentials, p.keys} {
		for _, name := range list {
			t.ask(name, textLimit)
		}
	}
	t.ask("etc/machine-id", textLimit)
	t.ask(ownState+"/machine-id", textLimit)
}

func (p *secretProbe) check(t *tree) {
	for _, name := range p.shadows {
		checkShadow(t, name)
	}
	for _, name := range p.credentials {
		if holdsCredential(name, t.content(name)) {
			t.found("credentials", name, "")
		}
	}
	for _, name := range p.keys {
		if text := t.text(name); strings.Contains(text, "-----BEGIN ") && strings.Contains(text, "PRIVATE KEY-----") {
			t.found("private-key", name, "")
		}
	}
	if id := strings.TrimSpace(t.text("etc/machine-id")); id != "" && id != "uninitialized" {
		t.found("machine-id", "etc/machine-id", "")
	}
	if t.exists(ownState) {
		for _, name := range []string{"machine-id", "filled-from"} {
			if t.exists(ownState + "/" + name) {
				t.found("device-state", ownState+"/"+name, "")
			}
		}
	}
}

// holdsCredential looks into files that are often there without a secret.
func holdsCredential(name string, b []byte) bool {
	switch base(name) {
	case "config.json", "auth.json", ".dockercfg":
		var v struct {
			Auths map[string]json.RawMessage `json:"auths"`
		}
		if json.Unmarshal(b, &v) == nil && base(name) != ".dockercfg" {
			return len(v.Auths) > 0
		}
	case ".npmrc", ".pypirc", ".my.cnf":
		text := strings.ToLower(string(b))
		return strings.Contains(text, "_auth") || strings.Contains(text, "password")
	case "auth.conf":
		return strings.Contains(string(b), "password")
	}
	return len(strings.TrimSpace(string(b))) > 0
}

// checkShadow reads shadow(5). "*" and "!" alone are accounts that nobody gets
// into with a password.
func checkShadow(t *tree, name string) {
	for line := range strings.Lines(t.text(name)) {
		user, rest, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok || user == "" || user[0] == '#' {
			continue
		}
		hash, _, _ := strings.Cut(rest, ":")
		switch locked := strings.TrimLeft(hash, "!*"); {
		case hash == "":
			t.found("empty-password", name, user)
		case len(locked) >= 13: // the shortest is that of the old crypt(3)
			t.found("password-hash", name, user)
		}
	}
}
