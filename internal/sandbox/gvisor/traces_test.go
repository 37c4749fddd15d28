package gvisor_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/mount"
)

// traces lists everything on the host that has text in its name: processes by
// command line, mounts, loop devices, cgroups, files below dir, interfaces.
func traces(tb testing.TB, dir, text string) []string {
	tb.Helper()
	var found []string
	add := func(kind, name string) {
		if strings.Contains(name, text) {
			found = append(found, kind+" "+name)
		}
	}
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	check(tb, err)
	for _, path := range cmdlines {
		if cmdline, err := os.ReadFile(path); err == nil && filepath.Dir(path) != "/proc/self" {
			name := strings.ReplaceAll(string(cmdline), "\x00", " ")
			if strings.HasPrefix(filepath.Base(name), "runsc") || strings.Contains(name, "runsc") {
				add("process", filepath.Base(filepath.Dir(path))+": "+name)
			}
		}
	}
	mounts, err := mount.Below("/")
	check(tb, err)
	for _, point := range mounts {
		add("mount", point)
	}
	check(tb, filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			add("cgroup", path)
		}
		return nil // it may be gone meanwhile
	}))
	check(tb, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		add("file", path)
		return nil
	}))
	devices, err := mount.LoopsBelow(dir)
	check(tb, err)
	for _, device := range devices {
		found = append(found, "loop device "+device)
	}
	return found
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
