package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// maxLine bounds a line that is read: ARNs and reasons are far shorter.
const maxLine = 64 << 10

// Read calls f for every line of a directory's files from a time on, oldest
// first. Lines that cannot be read, as the last one after a crash, are left out
// and counted.
func Read(dir string, since time.Time, f func(Event) error) (unreadable int, err error) {
	all, err := days(dir)
	if err != nil {
		return 0, err
	}
	for _, day := range all {
		if day < since.UTC().Format(time.DateOnly) {
			continue
		}
		n, err := readFile(filepath.Join(dir, day+suffix), since, f)
		unreadable += n
		if err != nil {
			return unreadable, err
		}
	}
	return unreadable, nil
}

func readFile(name string, since time.Time, f func(Event) error) (unreadable int, err error) {
	file, err := os.Open(name)
	if err != nil {
		return 0, fmt.Errorf("audit: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var e Event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Time.IsZero() {
			unreadable++
			continue
		}
		if e.Time.Before(since) {
			continue
		}
		if err := f(e); err != nil {
			return unreadable, err
		}
	}
	return unreadable, lines.Err()
}
