package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoLoop is returned when the kernel has no loop device left to give.
var ErrNoLoop = errors.New("no loop device is free; unmount unused images, or allow more with: modprobe loop max_loop=1024")

// loopTries bounds the race for a free device with other processes: between
// the kernel naming one and our taking it, another may have it.
const loopTries = 64

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
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w (is the loop driver loaded? try: modprobe loop)", err)
	}
	defer control.Close()
	for range loopTries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("%w (%w)", ErrNoLoop, err)
		}
		device, err := configureLoop(n, flags, backing)
		if !errors.Is(err, unix.EBUSY) {
			return device, err
		}
	}
	return nil, ErrNoLoop
}

func configureLoop(n, flags int, backing *os.File) (*os.File, error) {
	device, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), flags, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOENT) {
		return nil, unix.EBUSY // taken away again between naming and opening
	}
	if err != nil {
		return nil, err
	}
	config := unix.LoopConfig{Fd: uint32(backing.Fd())} //nolint:gosec // descriptors are small
	// Direct I/O: the image's pages are cached once, in the file system
	// mounted from it, not a second time in the file below.
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR | unix.LO_FLAGS_DIRECT_IO
	if flags == os.O_RDONLY {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], backing.Name())
	err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
	if errors.Is(err, unix.EINVAL) {
		// The file system below cannot do direct I/O (tmpfs, FUSE).
		config.Info.Flags &^= unix.LO_FLAGS_DIRECT_IO
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
	}
	if err != nil {
		return nil, errors.Join(err, device.Close())
	}
	return device, nil
}

// LoopsBelow lists the loop devices whose image is a file below dir, also one
// that has been deleted.
func LoopsBelow(dir string) ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, fmt.Errorf("mount: list loop devices: %w", err)
	}
	var devices []string
	for _, file := range files {
		// A device without an image has no such file, or loses it meanwhile.
		backing, err := os.ReadFile(file)
		if err == nil && below(strings.TrimSuffix(string(backing), "\n"), dir) {
			devices = append(devices, "/dev/"+filepath.Base(filepath.Dir(filepath.Dir(file))))
		}
	}
	return devices, nil
}

// DetachLoop frees a loop device. One that is mounted is freed with its last
// mount.
func DetachLoop(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return fmt.Errorf("mount: detach loop device: %w", err)
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil && !errors.Is(err, unix.ENXIO) {
		return fmt.Errorf("mount: detach %s: %w", device, err)
	}
	return nil
}
