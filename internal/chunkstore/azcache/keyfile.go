package azcache

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// NewKeyFile makes a key, and a file of it that only its owner reads. The file
// must not exist.
func NewKeyFile(name string) error {
	var key Key
	rand.Read(key[:]) // never fails: it ends the program instead
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("make key of the zone's cache: %w", err)
	}
	_, err = fmt.Fprintln(f, hex.EncodeToString(key[:]))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("make key of the zone's cache: %w", err), os.Remove(name))
	}
	return nil
}

// LoadKey reads the file of a key. What is in it is never a part of an error.
func LoadKey(name string) (Key, error) {
	var key Key
	f, err := os.Open(name)
	if err != nil {
		return key, fmt.Errorf("key of the zone's cache: %w; make one with: hearth cache key FILE", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return key, fmt.Errorf("key of the zone's cache: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return key, fmt.Errorf("key of the zone's cache: others than its owner may use %s; try: chmod 600 %s", name, name)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return key, fmt.Errorf("key of the zone's cache: %w", err)
	}
	raw, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || copy(key[:], raw) != len(key) || len(raw) != len(key) {
		return Key{}, fmt.Errorf("key of the zone's cache: %s has not the %d hexadecimal digits of a key; make one with: hearth cache key FILE",
			name, 2*len(key))
	}
	return key, nil
}
