package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Below lists the mount points at and below dir, the latest mounted first:
// unmounting in this order always meets the innermost and topmost one.
func Below(dir string) ([]string, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mount: list mounts: %w", err)
	}
	var points []string
	for _, point := range mountPoints(string(table)) {
		if below(point, dir) {
			points = append([]string{point}, points...)
		}
	}
	return points, nil
}

// UnmountBelow unmounts everything at and below dir.
func UnmountBelow(dir string) error {
	points, err := Below(dir)
	if err != nil {
		return err
	}
	var all error
	for _, point := range points {
		all = errors.Join(all, Unmount(point))
	}
	return all
}

// below reports whether path is dir or lies in it. A path that the kernel
// marks as deleted counts by its former name.
func below(path, dir string) bool {
	path = strings.TrimSuffix(path, " (deleted)")
	dir = filepath.Clean(dir)
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// mountPoints reads the fifth field of each line of proc_pid_mountinfo(5).
// Its order is that of mounting, but for mounts that were moved.
func mountPoints(table string) []string {
	var points []string
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 4 {
			points = append(points, strings.TrimSuffix(unescape(fields[4]), "//deleted"))
		}
	}
	return points
}

// unescape undoes the kernel's octal escapes (\040 for a space).
func unescape(field string) string {
	var b strings.Builder
	for i := 0; i < len(field); i++ {
		if field[i] == '\\' && i+3 < len(field) && octal(field[i+1:i+4]) {
			b.WriteByte((field[i+1]-'0')<<6 | (field[i+2]-'0')<<3 | (field[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(field[i])
	}
	return b.String()
}

func octal(digits string) bool {
	for _, c := range []byte(digits) {
		if c < '0' || c > '7' {
			return false
		}
	}
	return digits[0] <= '3'
}
