package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"hearth/internal/datadir"
)

func (m *machine) loop() Check {
	if info, err := m.stat("/dev/loop-control"); err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		return bad("loop devices", "there is no /dev/loop-control; images and /tmp are mounted through loop devices",
			"modprobe loop || mknod /dev/loop-control c 10 237")
	}
	if err := m.freeLoop(); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return bad("loop devices", "not allowed: "+err.Error(), "sudo hearth doctor")
		}
		return bad("loop devices", "the kernel gives no free one: "+err.Error(), "losetup --list && modprobe -r loop && modprobe loop max_loop=1024")
	}
	return good("loop devices", "one is free")
}

func (m *machine) fuse() Check {
	if info, err := m.stat("/dev/fuse"); err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		return bad("fuse", "there is no /dev/fuse; code is read through it, piece by piece", "modprobe fuse || mknod /dev/fuse c 10 229")
	}
	return good("fuse", "/dev/fuse")
}

// dataDir asks the package that owns the directory, so that doctor and up say
// the same, and adds what mends it.
func (m *machine) dataDir(dir string) Check {
	const name = "data directory"
	elsewhere := "hearth up --data DIR   # an empty or new directory"
	info, err := m.stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return good(name, dir+" will be made")
	case err != nil:
		return bad(name, err.Error(), "sudo hearth doctor")
	case !info.IsDir():
		return bad(name, dir+" is a file", elsewhere)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
		return bad(name, fmt.Sprintf("%s belongs to user %d", dir, owner.Uid), "chown -R root: "+dir)
	}
	entries, err := fs.ReadDir(m.files, strings.TrimPrefix(dir, "/"))
	if err != nil {
		return bad(name, err.Error(), "sudo hearth doctor")
	}
	if len(entries) == 0 {
		return good(name, dir+" is empty")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return bad(name, fmt.Sprintf("others can enter %s (mode %04o); it holds the root keys", dir, info.Mode().Perm()), "chmod 700 "+dir)
	}
	if err := m.keys(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		if errors.Is(err, datadir.ErrUnsafe) {
			return bad(name, err.Error(), "chmod 600 "+filepath.Join(dir, "credentials"))
		}
		return bad(name, err.Error(), fmt.Sprintf("mv %[1]s %[1]s.damaged   # the next start makes new keys", filepath.Join(dir, "credentials")))
	}
	url, err := m.endpoint(dir)
	switch {
	case err == nil:
		return good(name, dir+", in use by the hearth at "+url)
	case errors.Is(err, datadir.ErrNotServing):
		return good(name, dir+", left by a former hearth")
	}
	return bad(name, err.Error(), elsewhere)
}

// Images of the three runtimes and the room to build them need most of the
// first; code, /tmp of environments and logs grow into the second.
const (
	leastDisk   = 5 << 30
	wantDisk    = 20 << 30
	leastInodes = 100_000
)

func (m *machine) disk(dir string) Check {
	at := m.existing(dir)
	s, err := m.space(at)
	if err != nil {
		return bad("disk", err.Error(), "df -h "+at)
	}
	detail := fmt.Sprintf("%s free for %s", size(s.free), dir)
	most := "du -xh --max-depth=2 " + at + " | sort -h | tail"
	switch {
	case s.readOnly:
		return bad("disk", at+" is on a read-only file system", "mount -o remount,rw \"$(findmnt -no TARGET -T "+at+")\"")
	case s.free < leastDisk:
		return bad("disk", detail+"; want at least "+size(leastDisk)+": free some, or choose a larger disk with --data", most)
	case s.inodes > 0 && s.inodes < leastInodes:
		return poor("disk", fmt.Sprintf("only %d more files can be made beside %s", s.inodes, dir), "du -x --inodes --max-depth=2 "+at+" | sort -n | tail")
	case s.free < wantDisk:
		return poor("disk", detail+"; less than "+size(wantDisk)+" is soon used up by images, code and logs", most)
	}
	return good("disk", detail)
}

// existing returns the lowest directory above dir that is there.
func (m *machine) existing(dir string) string {
	for ; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if _, err := m.stat(dir); err == nil {
			return dir
		}
	}
	return "/"
}

// leftovers looks for mounts and loop devices of a Hearth that was killed.
func (m *machine) leftovers(dir string) Check {
	const name = "leftovers"
	if pid, err := m.holder(dir); err == nil && pid != 0 {
		return good(name, fmt.Sprintf("not looked for: hearth (process %d) is running", pid))
	}
	table, err := m.text("/proc/self/mountinfo")
	if err != nil {
		return poor(name, err.Error(), "mount -t proc proc /proc")
	}
	below := filepath.Clean(dir) + "/"
	mounts := 0
	for line := range strings.Lines(table) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], below) {
			mounts++
		}
	}
	loops := 0
	backing, err := fs.Glob(m.files, "sys/block/loop*/loop/backing_file")
	if err != nil {
		return poor(name, err.Error(), "losetup --list")
	}
	for _, file := range backing {
		if image, err := m.text(file); err == nil && strings.HasPrefix(image, below) {
			loops++
		}
	}
	if mounts+loops > 0 {
		return poor(name, fmt.Sprintf("%d mounts and %d loop devices of a hearth that was killed; the next start removes them", mounts, loops),
			"hearth up --data "+dir)
	}
	return good(name, "none")
}
