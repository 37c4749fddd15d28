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
