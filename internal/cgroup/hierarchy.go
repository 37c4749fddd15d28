package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Controllers are those that Hearth needs, by their version 1 names.
var controllersV1 = []string{"memory", "cpu", "cpuacct", "pids"}

// controllersV2 need to be switched on for each level; accounting of CPU time
// is always there.
var controllersV2 = []string{"memory", "cpu", "pids"}

// Hierarchy is where groups are made. Its methods may be called at once from
// several goroutines.
type Hierarchy struct {
	// roots maps a version 1 controller to its mount point. It is nil on
	// version 2.
	roots map[string]string
	// unified is the mount point of version 2.
	unified string
}

// Detect finds the hierarchies that are mounted on this machine.
func Detect() (*Hierarchy, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cgroup: find hierarchies: %w", err)
	}
	return fromMountInfo(string(table))
}

// fromMountInfo reads the layout out of a mount table in the form of
// proc_pid_mountinfo(5).
func fromMountInfo(table string) (*Hierarchy, error) {
	v1 := make(map[string]string)
	unified := ""
	for line := range strings.Lines(table) {
		before, after, found := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !found || len(left) < 5 || len(right) < 3 {
			continue
		}
		switch right[0] {
		case "cgroup2":
			unified = left[4]
		case "cgroup":
			for option := range strings.SplitSeq(right[2], ",") {
				v1[option] = left[4]
			}
		}
	}
	if v1["memory"] == "" {
		if unified == "" {
			return nil, errors.New("cgroup: no cgroup hierarchy is mounted; " +
				"mount one with: mount -t cgroup2 none /sys/fs/cgroup")
		}
		return NewV2(unified)
	}
	roots := make(map[string]string, len(controllersV1))
	for _, controller := range controllersV1 {
		if v1[controller] == "" {
			return nil, fmt.Errorf("cgroup: controller %q is not mounted; "+
				"mount it with: mkdir -p /sys/fs/cgroup/%[1]s && mount -t cgroup -o %[1]s none /sys/fs/cgroup/%[1]s", controller)
		}
		roots[controller] = v1[controller]
	}
	return &Hierarchy{roots: roots}, nil
}

// NewV2 returns the version 2 hierarchy mounted at dir.
func NewV2(dir string) (*Hierarchy, error) {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return nil, fmt.Errorf("cgroup: version 2 hierarchy: %w", err)
	}
	have := strings.Fields(string(text))
	for _, controller := range controllersV2 {
		if !slices.Contains(have, controller) {
			return nil, fmt.Errorf("cgroup: controller %q is not available at %s", controller, dir)
		}
	}
	return &Hierarchy{unified: dir}, nil
}

// Create makes the group path, relative to the top of the hierarchy, and
// those above it. A group that is there already is taken as it is.
func (h *Hierarchy) Create(path string) (*Group, error) {
	g, err := h.Group(path)
	if err != nil {
		return nil, err
	}
	if h.roots == nil {
		err = createV2(h.unified, path)
	} else {
		for _, dir := range g.dirs() {
			err = errors.Join(err, os.MkdirAll(dir, 0o755))
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cgroup: create %s: %w", path, err), g.Remove())
	}
	return g, nil
}

// createV2 makes each level and hands the controllers down to it.
func createV2(root, path string) error {
	enable := "+" + strings.Join(controllersV2, " +")
	dir := root
	for part := range strings.SplitSeq(path, "/") {
		control := filepath.Join(dir, "cgroup.subtree_control")
		if err := os.WriteFile(control, []byte(enable), 0o644); err != nil {
			return err
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Group names the group at path without making it.
func (h *Hierarchy) Group(path string) (*Group, error) {
	if path == "" || !filepath.IsLocal(path) || filepath.Clean(path) != path {
		return nil, fmt.Errorf("cgroup: %q is not a clean relative path", path)
	}
	return &Group{hierarchy: h, path: path}, nil
}

// Children lists the groups right below path, in any of the hierarchies. A
// path that is not there has none.
func (h *Hierarchy) Children(path string) ([]string, error) {
	g, err := h.Group(path)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	var names []string
	for _, dir := range g.dirs() {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("cgroup: list %s: %w", path, err)
		}
		for _, entry := range entries {
			if entry.IsDir() && !seen[entry.Name()] {
				seen[entry.Name()] = true
				names = append(names, entry.Name())
			}
		}
	}
	return names, nil
}
