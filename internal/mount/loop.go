package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNoLoop is returned when the kernel has no loop device left to give.
var ErrNoLoop = errors.New("no loop device is free; unmount unused images, or allow more with: modprobe loop max_loop=1024")

// loopTries bounds the race for a free device with other processes: between
// the kernel naming one and our taking it, another may have it.
const loopTries = 64

// takingLoop is held from the kernel's naming a free device to our taking it.
// All who take one at once are named the same: of a crowd in this process most
// would lose each time, and some every time.
var takingLoop sync.Mutex

// attachLoop binds a loop device to image. The device is open: closing it
// before something is mounted from it frees the device again.
func attachLoop(image string, readOnly bool) (*os.File, error) {
	flags := os.O_RDWR
	if readOnly {
		flags = os.O_RDONLY
	}
	backing, err := os.OpenFile(image, flags, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close()
	return takeLoop(backing, flags, unix.LO_FLAGS_AUTOCLEAR, image)
}

// AttachLoop binds a free loop device, read-only, to an open file, and returns
// the device's path. It stays until DetachLoop, whatever happens to this
// process. name is what LoopName will tell, at most 63 bytes of it.
func AttachLoop(backing *os.File, name string) (device string, err error) {
	f, err := takeLoop(backing, os.O_RDONLY, 0, name)
	if err != nil {
		return "", fmt.Errorf("mount: attach %s: %w", name, err)
	}
	return f.Name(), f.Close()
}

// takeLoop binds a free loop device to an open file and leaves it open.
func takeLoop(backing *os.File, open, loop int, name string) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w (is the loop driver loaded? try: modprobe loop)", err)
	}
	defer control.Close()
	for range loopTries {
		device, err := takeNextLoop(control, backing, open, loop, name)
		if !errors.Is(err, unix.EBUSY) {
			return device, err
		}
	}
	return nil, ErrNoLoop
}

// takeNextLoop takes the device that the kernel names. EBUSY says that another
// process has it by then.
func takeNextLoop(control, backing *os.File, open, loop int, name string) (*os.File, error) {
	takingLoop.Lock()
	defer takingLoop.Unlock()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrNoLoop, err)
	}
	return configureLoop(n, open, loop, backing, name)
}

func configureLoop(n, open, loop int, backing *os.File, name string) (*os.File, error) {
	device, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), open, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
		return nil, unix.EBUSY // taken away again between naming and opening
	}
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{Fd: uint32(backing.Fd())} //nolint:gosec // descriptors are small
	// Direct I/O: the image's pages are cached once, in the file system
	// mounted from it, not a second time in the file below.
	config.Info.Flags = uint32(loop | unix.LO_FLAGS_DIRECT_IO) //nolint:gosec // flags are small
	if open == os.O_RDONLY {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], name)
	err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
	if errors.Is(err, unix.EINVAL) {
		// The file system below cannot do direct I/O (tmpfs).
		config.Info.Flags &^= unix.LO_FLAGS_DIRECT_IO
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
	}
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return device, nil
}

// OpenLoop opens a loop device that was attached under a name. While it is
// open it stays what it is, even if it is detached. fs.ErrNotExist says that
// the device is, by now, another's or nobody's.
func OpenLoop(device, name string) (*os.File, error) {
	f, err := os.Open(device)
	if err != nil {
		return nil, fmt.Errorf("mount: open loop device: %w", err)
	}
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err == nil && unix.ByteSliceToString(info.File_name[:]) == name {
		return f, nil
	}
	return nil, errors.Join(fmt.Errorf("mount: %s is not attached to %s: %w", device, name, fs.ErrNotExist), f.Close())
}

// LoopsBelow lists the loop devices whose image is a file below dir, also one
// that has been deleted.
func LoopsBelow(dir string) ([]string, error) {
	all, err := loops()
	if err != nil {
		return nil, err
	}
	var devices []string
	for device, backing := range all {
		if below(backing, dir) {
			devices = append(devices, device)
		}
	}
	return devices, nil
}

// LoopsNamed lists the loop devices whose image has a name of that prefix, in
// whichever directory, with those names: of a mount that was detached the
// directory is not known.
func LoopsNamed(prefix string) (map[string]string, error) {
	all, err := loops()
	for device, backing := range all {
		if all[device] = filepath.Base(backing); !strings.HasPrefix(all[device], prefix) {
			delete(all, device)
		}
	}
	return all, err
}

// loops returns the paths of all devices that have an image, with that.
func loops() (map[string]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, fmt.Errorf("mount: list loop devices: %w", err)
	}
	all := make(map[string]string)
	for _, file := range files {
		// A device without an image has no such file, or loses it meanwhile.
		if backing, err := os.ReadFile(file); err == nil {
			all["/dev/"+filepath.Base(filepath.Dir(filepath.Dir(file)))] = strings.TrimSuffix(string(backing), "\n")
		}
	}
	return all, nil
}

// DetachLoop frees a loop device. One that is mounted is freed with its last
// mount.
func DetachLoop(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("mount: detach loop device: %w", err)
	}
	defer f.Close()
	return detach(f)
}

// DetachLoopNamed frees a loop device as DetachLoop does, if it is still
// attached under that name.
func DetachLoopNamed(device, name string) error {
	f, err := OpenLoop(device, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return detach(f)
}

func detach(device *os.File) error {
	if err := unix.IoctlSetInt(int(device.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("mount: detach %s: %w", device.Name(), err)
	}
	return nil
}

// SetReadAhead sets how many bytes the kernel reads ahead on a block device, for
// file systems that are mounted from it later.
func SetReadAhead(device string, bytes int) error {
	f, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("mount: set read-ahead: %w", err)
	}
	defer f.Close()
	// The kernel takes the number itself, not a pointer to it, in sectors.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKRASET, uintptr(bytes/512)); errno != 0 {
		return fmt.Errorf("mount: set read-ahead of %s: %w", device, errno)
	}
	return nil
}
