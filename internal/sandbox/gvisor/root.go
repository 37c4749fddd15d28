package gvisor

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"hearth/internal/mount"
)

// resolversPath is where the C library looks for the name servers.
const resolversPath = "/etc/resolv.conf"

// Places inside a sandbox, all below a directory that images cannot shadow.
const (
	hearthDir = "/.hearth"
	initPath  = hearthDir + "/init"
	ctlDir    = hearthDir + "/ctl"
	ctlSocket = "s"
)

// A sandbox's root is three layers, read-only:
//
//	skel/top     /.hearth with its mount points; hides whatever the image has
//	Spec.Root    the image, as it is
//	skel/bottom  mount points that a minimal image may lack
//
// gVisor needs mount points to exist; giving it a writable overlay instead
// would let a function write to its root, and the writes would be memory.
func makeSkeleton(dir string) error {
	top, bottom := skeleton(dir)
	for _, sub := range []string{ctlDir, "/.hearth/late"} {
		if err := os.MkdirAll(filepath.Join(top, sub), 0o755); err != nil {
			return err
		}
	}
	if err := touch(filepath.Join(top, initPath)); err != nil {
		return err
	}
	err := unix.Setxattr(filepath.Join(top, hearthDir), "trusted.overlay.opaque", []byte("y"), 0)
	if err != nil {
		return fmt.Errorf("mark skeleton opaque: %w", err)
	}
	for _, sub := range []string{"proc", "sys", "dev", "tmp", "opt", "etc", "var/task"} {
		if err := os.MkdirAll(filepath.Join(bottom, sub), 0o755); err != nil {
			return err
		}
	}
	return touch(filepath.Join(bottom, resolversPath))
}

// touch makes an empty file, if there is none.
func touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o755)
	if err != nil {
		return err
	}
	return f.Close()
}

func skeleton(dir string) (top, bottom string) {
	return filepath.Join(dir, "skel", "top"), filepath.Join(dir, "skel", "bottom")
}

// mountRoot lays the layers over each other.
func (s *instance) mountRoot(image string) error {
	if info, err := os.Stat(image); err != nil {
		return fmt.Errorf("root file system: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("root file system %s: %w", image, unix.ENOTDIR)
	}
	top, bottom := skeleton(s.driver.cfg.Dir)
	return mount.Overlay(s.path("root"), top, image, bottom)
}
