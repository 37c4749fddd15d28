package logstore

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxDirName leaves room below the 255 bytes that file systems allow.
const maxDirName = 180

// dirName turns a group's name, which may be anything, into a file name that
// no other group has. Bytes that are special to file systems or shells are
// written as %XX; a name that gets too long for that keeps its beginning and
// is told apart by its hash.
func dirName(group string) string {
	var b strings.Builder
	for _, c := range []byte(group) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() <= maxDirName {
		return b.String()
	}
	return fmt.Sprintf("%s~%x", b.String()[:maxDirName-65], sha256.Sum256([]byte(group)))
}

// Group names a log group of an account.
type Group struct{ Account, Name string }

// accountMark begins the name of an account's directory. No group's directory
// can: dirName writes it as %40.
const accountMark = "@"

// path is the group's directory below that of all logs.
func (g Group) path(dir string) string {
	return filepath.Join(accountDir(dir, g.Account), dirName(g.Name))
}

func accountDir(dir, account string) string {
	return filepath.Join(dir, accountMark+dirName(account))
}

// adopt moves the groups of a store that knew no accounts to the account that
// they belonged to.
func adopt(dir, account string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || account == "" {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), accountMark) {
			continue
		}
		to := accountDir(dir, account)
		if err := os.MkdirAll(to, 0o700); err != nil {
			return fmt.Errorf("open log store: %w", err)
		}
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return fmt.Errorf("open log store: move the logs of %s to account %s: %w", e.Name(), account, err)
		}
	}
	return nil
}

// segment is a file of a group.
type segment struct {
	seq  uint64
	path string
}

// segments returns a group's segments, oldest first; none if there is no such
// group.
func segments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list log segments: %w", err)
	}
	var found []segment
	for _, e := range entries {
		var seq uint64
		if _, err := fmt.Sscanf(e.Name(), segmentPattern, &seq); err != nil || fmt.Sprintf(segmentPattern, seq) != e.Name() {
			continue
		}
		found = append(found, segment{seq, filepath.Join(dir, e.Name())})
	}
	slices.SortFunc(found, func(a, b segment) int { return strings.Compare(a.path, b.path) })
	return found, nil
}
