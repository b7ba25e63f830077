package oci

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/abupdate/abupdate/internal/fault"
	"github.com/google/go-containerregistry/pkg/authn"
)

// keychain finds credentials: in the options' file, then where docker login
// and podman login leave them.
func (o Options) keychain() authn.Keychain {
	if o.AuthFile == "" {
		return authn.DefaultKeychain
	}
	return authn.NewMultiKeychain(authFile(o.AuthFile), authn.DefaultKeychain)
}

// An authFile is a file in the format of docker's config.json, without
// helpers. As podman does it takes keys for repositories and what is above
// them, HOST/PATH, besides those for hosts; the longest that fits counts.
type authFile string

// authEntry is what the file has for one key.
type authEntry struct {
	Auth          string `json:"auth"` // base64 of USER:PASSWORD
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Resolve implements authn.Keychain.
func (f authFile) Resolve(target authn.Resource) (authn.Authenticator, error) {
	b, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) { // it is root's
		return authn.Anonymous, nil
	}
	if err != nil {
		return nil, err
	}
	var file struct {
		Auths map[string]authEntry `json:"auths"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fault.Errorf(fault.Usage, "reading %s: %w", string(f), err)
	}
	for key := target.String(); key != ""; key = parent(key) {
		for _, name := range spellings(key) {
			if e, ok := file.Auths[name]; ok {
				auth, err := e.authenticator()
				if err != nil {
					return nil, fault.Errorf(fault.Usage, "reading %s: %q: %w", string(f), name, err)
				}
				return auth, nil
			}
		}
	}
	return authn.Anonymous, nil
}

// spellings are how people write a key, for Docker Hub most of all.
func spellings(key string) []string {
	all := []string{key, "https://" + key}
	if rest, ok := strings.CutPrefix(key, "index.docker.io"); ok {
		all = append(all, "docker.io"+rest, "https://index.docker.io/v1/"+strings.TrimPrefix(rest, "/"))
	}
	return all
}

// parent cuts the last part off HOST/A/B.
func parent(key string) string {
	i := strings.LastIndexByte(key, '/')
	return key[:max(0, i)]
}

func (e authEntry) authenticator() (authn.Authenticator, error) {
	c := authn.AuthConfig{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
	if e.Auth != "" {
		b, err := base64.StdEncoding.DecodeString(e.Auth)
		if err != nil {
			return nil, fmt.Errorf("auth is not base64")
		}
		user, password, ok := strings.Cut(strings.TrimRight(string(b), "\x00"), ":")
		if !ok {
			return nil, fmt.Errorf("auth holds no colon")
		}
		c.Username, c.Password = user, password
	}
	return authn.FromConfig(c), nil
}
