package ociimage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
)

// maxKeychain bounds a file of credentials.
const maxKeychain = 1 << 20

// LoadKeychain reads credentials for registries from a file in the form of
// ~/.docker/config.json. Programs that keep credentials elsewhere
// (credsStore, credHelpers) are not run. The file's content is in no error.
func LoadKeychain(file string) (_ authn.Keychain, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("registry credentials: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("registry credentials: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("registry credentials: others can read %s (mode %04o); run: chmod 600 %s", file, info.Mode().Perm(), file)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeychain+1))
	if err != nil {
		return nil, fmt.Errorf("registry credentials: %w", err)
	}
	k, err := parseKeychain(data)
	if err != nil {
		return nil, fmt.Errorf("registry credentials: %s: %w", file, err)
	}
	return k, nil
}

func parseKeychain(data []byte) (keychain, error) {
	var config struct {
		Auths       map[string]authn.AuthConfig `json:"auths"`
		CredsStore  string                      `json:"credsStore"`
		CredHelpers map[string]string           `json:"credHelpers"`
	}
	if len(data) > maxKeychain {
		return nil, fmt.Errorf("it has more than %d bytes", maxKeychain)
	}
	if json.Unmarshal(data, &config) != nil {
		// Not the decoder's error: it may quote what it read.
		return nil, errors.New(`it is not of the form {"auths": {"HOST": {"auth": "base64 of USER:PASSWORD"}}}`)
	}
	if config.CredsStore != "" || len(config.CredHelpers) > 0 {
		return nil, errors.New("it names credential helpers, which are not run; put the credentials into auths")
	}
	k := keychain{}
	for key, auth := range config.Auths {
		k[registryKey(key)] = auth
	}
	return k, nil
}

// registryKey is what is known by an entry of a file: docker writes URLs for
// some, and podman paths below hosts.
func registryKey(key string) string {
	key = strings.ToLower(key)
	for _, scheme := range []string{"https://", "http://"} {
		key = strings.TrimPrefix(key, scheme)
	}
	for _, end := range []string{"/", "/v1", "/v2"} {
		key = strings.TrimSuffix(key, end)
	}
	host, path, below := strings.Cut(key, "/")
	if host == "docker.io" || host == "registry-1.docker.io" {
		host = name.DefaultRegistry
	}
	if below {
		return host + "/" + path
	}
	return host
}

// keychain has credentials by host, or host and path.
type keychain map[string]authn.AuthConfig

// Resolve implements authn.Keychain: the entry of the longest path counts.
func (k keychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	for key := strings.ToLower(r.String()); ; {
		if auth, ok := k[key]; ok {
			return authn.FromConfig(auth), nil
		}
		i := strings.LastIndexByte(key, '/')
		if i < 0 {
			return authn.Anonymous, nil
		}
		key = key[:i]
	}
}
