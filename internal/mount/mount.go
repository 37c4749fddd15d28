package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Ext4 mounts the ext4 file system in the file image at the directory target,
// without set-uid programs and device nodes: images hold what others wrote.
// A read-only mount never writes the image, not even to replay a journal.
// options are further ext4 options, comma-separated.
func Ext4(image, target string, readOnly bool, options string) error {
	device, err := attachLoop(image, readOnly)
	if err != nil {
		return fmt.Errorf("mount: attach %s: %w", image, err)
	}
	// Mounted or not, the open file is no longer needed: the mount holds the
	// device, and without a mount closing it frees the device.
	defer device.Close()
	return ext4(image, device, target, readOnly, options)
}

// Ext4Device mounts, as Ext4 does and read-only, the file system on an open
// loop device. The device can be closed then.
func Ext4Device(device *os.File, target, options string) error {
	return ext4(device.Name(), device, target, true, options)
}

func ext4(image string, device *os.File, target string, readOnly bool, options string) error {
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOATIME)
	if readOnly {
		flags |= unix.MS_RDONLY
		options = join("noload", options)
	}
	if err := unix.Mount(device.Name(), target, "ext4", flags, options); err != nil {
		return fmt.Errorf("mount: ext4 image %s at %s: %w", image, target, err)
	}
	return nil
}

// Abort ends a FUSE file system whose server may be dead or hang: everything
// that waits for an answer fails at once (EIO). It removes the mount, too.
// A target that is no mount point, or is not there, is no error.
func Abort(target string) error {
	// Forcing aborts the connection even where the mount is too busy to go.
	if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_FORCE); err == nil {
		return nil
	}
	return Unmount(target)
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + "," + b
}

// Overlay mounts, read-only, the directories layers laid over each other at
// target. The first hides the later ones.
func Overlay(target string, layers ...string) error {
	escaped := make([]string, len(layers))
	for i, layer := range layers {
		escaped[i] = escape(layer)
	}
	options := "lowerdir=" + strings.Join(escaped, ":")
	err := unix.Mount("overlay", target, "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, options)
	if err != nil {
		return fmt.Errorf("mount: overlay at %s: %w", target, err)
	}
	return nil
}

// escape shields what overlayfs takes for separators.
func escape(path string) string {
	escaped := make([]byte, 0, len(path))
	for _, c := range []byte(path) {
		if c == ':' || c == ',' || c == '\\' {
			escaped = append(escaped, '\\')
		}
		escaped = append(escaped, c)
	}
	return string(escaped)
}

// Shared makes dir a mount of its own whose later submounts also appear
// wherever dir has been bound to before.
func Shared(dir string) error {
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount: share %s: %w", dir, err)
	}
	// Private first: on a host whose root is shared the new mount would
	// otherwise stay in its parent's peer group.
	for _, flag := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", dir, "", flag, ""); err != nil {
			return errors.Join(fmt.Errorf("mount: share %s: %w", dir, err), Unmount(dir))
		}
	}
	return nil
}

// Unmount removes the topmost mount at target. A busy one is detached: it
// disappears from the tree at once and ends with its last user. A target
// that is no mount point, or is not there, is no error.
func Unmount(target string) error {
	err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("mount: unmount %s: %w", target, err)
	}
	return nil
}
