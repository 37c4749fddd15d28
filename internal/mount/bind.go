package mount

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Bind makes the directory source visible at target as well, without set-uid
// programs and device nodes.
//
// The restrictions are in place before the mount appears anywhere. Mounting
// first and remounting then would not do: a mount's flags do not propagate, so
// where target is below a shared mount the copies in other mount namespaces
// (a sandbox's) would stay writable.
func Bind(source, target string, readOnly bool) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("mount: bind %s: %w", source, err)
	}
	tree := os.NewFile(uintptr(fd), source)
	defer tree.Close()
	attributes := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if readOnly {
		attributes.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attributes); err != nil {
		return fmt.Errorf("mount: restrict bind of %s: %w", source, err)
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount: bind %s at %s: %w", source, target, err)
	}
	return nil
}
