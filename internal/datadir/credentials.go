package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"hearth/internal/awsid"
)

// Credentials are the root keys of the one account.
type Credentials struct {
	AccountID       string `json:"accountId"`
	AccessKeyID     string `json:"accessKeyId"`
	SecretAccessKey string `json:"secretAccessKey"`
}

const accountID = "000000000000"

var (
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	keyPattern     = regexp.MustCompile(`^AKIA[A-Z2-7]{16}$`)
	secretPattern  = regexp.MustCompile(`^[A-Za-z0-9+/]{40}$`)
)

// Credentials returns the directory's keys, made from random bytes the first
// time.
func (d *Dir) Credentials() (Credentials, error) {
	c, err := LoadCredentials(d.path)
	if !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	c = Credentials{AccountID: accountID}
	c.AccessKeyID, c.SecretAccessKey = awsid.AccessKey(awsid.LongLived)
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return Credentials{}, fmt.Errorf("credentials: %w", err)
	}
	if err := writeFile(d.path, credentialsFile, append(b, '\n')); err != nil {
		return Credentials{}, err
	}
	return c, nil
}

// LoadCredentials reads the keys of the data directory at path, for a program
// that talks to the Hearth serving from it.
func LoadCredentials(path string) (Credentials, error) {
	name := filepath.Join(path, credentialsFile)
	info, err := os.Lstat(name)
	if err != nil {
		return Credentials{}, credentialsError(name, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return Credentials{}, fmt.Errorf("%s: %w: others can read the keys (mode %04o); run: chmod 600 %s",
			name, ErrUnsafe, info.Mode().Perm(), name)
	}
	b, err := readSmall(name)
	if err != nil {
		return Credentials{}, credentialsError(name, err)
	}
	var c Credentials
	if err := json.Unmarshal(b, &c); err != nil {
		return Credentials{}, damagedCredentials(name, err.Error())
	}
	// The values are not shown: half of a secret is one, too.
	switch {
	case !accountPattern.MatchString(c.AccountID):
		return Credentials{}, damagedCredentials(name, "accountId is not 12 digits")
	case !keyPattern.MatchString(c.AccessKeyID):
		return Credentials{}, damagedCredentials(name, "accessKeyId is not an access key")
	case !secretPattern.MatchString(c.SecretAccessKey):
		return Credentials{}, damagedCredentials(name, "secretAccessKey is not a secret key")
	}
	return c, nil
}

func credentialsError(name string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w: only its owner can read the keys; run as root: %w", name, ErrUnsafe, err)
	}
	return fmt.Errorf("credentials: %w", err)
}

func damagedCredentials(name, what string) error {
	return fmt.Errorf("%s: %w: %s; restore it from a backup, or remove it to have new keys made at the next start", name, ErrDamaged, what)
}
