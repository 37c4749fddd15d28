package blockfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"hearth/internal/mount"
)

// Lease is the right to use a volume.
type Lease struct {
	client   *Client
	volume   string
	opened   opened
	instance string
	lost     chan struct{}
}

// Device is the path of the loop device. Mount makes sure that it is still the
// volume's.
func (l *Lease) Device() string { return l.opened.Device }

// Size is the volume's, in bytes.
func (l *Lease) Size() int64 { return l.opened.Size }

// Lost is closed when the server is gone: the lease is void.
func (l *Lease) Lost() <-chan struct{} { return l.lost }

// mountOptions keep an image from choosing what an error in it does to the host.
const mountOptions = "errors=remount-ro"

// Mount mounts the volume's ext4 file system read-only at the directory target,
// without set-uid programs and device nodes.
func (l *Lease) Mount(target string) error {
	if l.isLost() {
		return ErrLost // its device may be there still, if something is mounted from it
	}
	device, err := mount.OpenLoop(l.opened.Device, l.opened.File)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	if err != nil {
		return err
	}
	defer device.Close()
	err = mount.Ext4Device(device, target, mountOptions)
	if !l.isLost() {
		return err
	}
	if err == nil {
		err = mount.Unmount(target)
	}
	return errors.Join(ErrLost, err)
}

func (l *Lease) isLost() bool {
	select {
	case <-l.lost:
		return true
	default:
		return false
	}
}

// Release ends the lease. What is still mounted stays readable until it is
// unmounted. Releasing twice, or what was lost, is no error.
func (l *Lease) Release(ctx context.Context) error {
	c := l.client
	for {
		link, err := c.current(ctx, l.lost)
		if l.isLost() {
			return nil // it went with its server, whether there is another or not
		}
		if err != nil {
			return err
		}
		if link.server.Instance != l.instance {
			return nil // it went with its server
		}
		err = link.call(ctx, opRelease, releaseArgs{l.opened.Lease}, nil, nil)
		if errors.Is(err, errUnlinked) {
			continue
		}
		if err == nil || errors.Is(err, ErrUnknown) {
			c.mu.Lock()
			delete(c.leases, l.opened.Lease)
			c.mu.Unlock()
			return nil
		}
		return err
	}
}
