package harness

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Leftovers lists what a Hearth over the data directory has on the machine
// besides the files that it keeps: processes (blockfs is one of its own),
// mounts, loop devices, network namespaces, cgroups, the worker's files and what
// was being written. After a clean stop, and after the
// start that follows a kill, there must be none of a former life.
func Leftovers(data string) []string {
	var left []string
	left = append(left, processes(data)...)
	left = append(left, mounts(data)...)
	left = append(left, loops(data)...)
	left = append(left, cgroups(data)...)
	return append(left, sandboxFiles(data)...)
}

// Remaining is what Leftovers still lists when the kernel has had ten seconds
// to let go: a loop device outlives its mount by a moment.
func Remaining(data string) []string {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		left := Leftovers(data)
		if len(left) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline:
			return left
		}
	}
}

// OfBlockfs says whether something that Leftovers lists is blockfs itself, which
// outlives a killed Hearth and serves the next one.
func OfBlockfs(data, left string) bool {
	return strings.Contains(left, data+"/blockfs") || strings.Contains(left, blockfsPrefix(data))
}

// blockfsPrefix begins the names of blockfs's files. Its loop devices have them
// also when the mount that the files were in is gone.
func blockfsPrefix(data string) string {
	sum := sha256.Sum256([]byte(data + "/blockfs"))
	return "hearth-blockfs-" + hex.EncodeToString(sum[:6]) + "-"
}

// sandboxFiles are what sandboxes, volumes and unfinished builds had.
func sandboxFiles(data string) []string {
	var left []string
	for _, pattern := range []string{"worker/sandboxes/sandboxes/*", "worker/sandboxes/run/*", "worker/scratch/*",
		"worker/code/*", "worker/builds/*", "blockfs/manifest-*", "blockfs/socket", "blockfs/lock", "blockfs/mnt", "chunks/tmp/*", "objects/tmp/*"} {
		found, _ := filepath.Glob(filepath.Join(data, pattern))
		for _, f := range found {
			left = append(left, "file "+f)
		}
	}
	return left
}

// InstanceName is the name under which a Hearth over the data directory keeps
// things outside of it.
func InstanceName(data string) string {
	sum := sha256.Sum256([]byte(data))
	return hex.EncodeToString(sum[:4])
}

// processes are those whose command line names the data directory.
func processes(data string) []string {
	var left []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err != nil || len(b) == 0 {
			continue
		}
		line := strings.ReplaceAll(string(b), "\x00", " ")
		if strings.Contains(line, data+"/") {
			left = append(left, "process "+filepath.Base(dir)+" "+line)
		}
	}
	return left
}

func mounts(data string) []string {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	var left []string
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], data+"/") {
			left = append(left, "mount "+fields[4])
		}
	}
	return left
}

func loops(data string) []string {
	var left []string
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if strings.HasPrefix(string(b), data+"/") || strings.Contains(string(b), blockfsPrefix(data)) {
			left = append(left, "loop device "+strings.Split(f, "/")[3]+" "+strings.TrimSpace(string(b)))
		}
	}
	return left
}

func cgroups(data string) []string {
	var left []string
	name := InstanceName(data)
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // what vanishes while we look is not left
		}
		if filepath.Base(path) == name {
			left = append(left, "cgroup "+path)
			return fs.SkipDir
		}
		return nil
	})
	return left
}
